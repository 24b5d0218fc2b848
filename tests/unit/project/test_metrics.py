"""Every metric of a stream worker or a server says what its text says: for each, a test that drives
the condition that the text names, and one that does not."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from pipeline.metrics import (
    BACKFILL_JOB_METRICS,
    BACKFILL_METRICS,
    FLEET_METRICS,
    HTTP_METRICS,
    STREAM_WORKER,
    Metric,
)
from tests.rigs.root import ROOT
from tests.unit.project.told import TOLD

TESTS = ROOT / "tests"


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize(
    "metric",
    [
        *STREAM_WORKER,
        *FLEET_METRICS,
        *HTTP_METRICS,
        *BACKFILL_METRICS,
        *BACKFILL_JOB_METRICS,
    ],
    ids=lambda metric: metric.name,
)
def test_every_metric_has_a_test_of_its_condition_and_one_of_another(metric: Metric) -> None:
    assert metric in TOLD, "write two tests, and their names here"
    for test in (each for told in TOLD[metric] for each in told):
        file, _, name = test.partition("::")
        assert name in functions_of(file)
