"""Who may touch which metric, and which process exposes it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import (
    BACKFILL_DRIVER,
    BACKFILL_JOB_METRICS,
    BACKFILL_METRICS,
    BACKFILL_WORKER,
    DRIFT_METRICS,
    DRIVER_METRICS,
    FLEET_METRICS,
    HTTP_METRICS,
    IMAGE_METRICS,
    SERVE_REPLICA,
    STORE_METRICS,
    STREAM_METRICS,
    STREAM_WORKER,
    Metric,
)
from tests.rigs.root import ROOT

MAY_TOUCH: Mapping[str, tuple[Metric, ...]] = {
    "pipeline": IMAGE_METRICS,
    "pipeline/adapters/opentelemetry": STREAM_WORKER,
    "pipeline/drift": STREAM_WORKER,
    "pipeline/fetch": (*IMAGE_METRICS, *STORE_METRICS),
    "workers": IMAGE_METRICS,
    "workers/backfill": BACKFILL_WORKER,
    "workers/commands/backfill": BACKFILL_DRIVER,
    "workers/endpoints": FLEET_METRICS,
    "workers/serve": SERVE_REPLICA,
    # Reads what stream workers expose, and sets nothing.
    "workers/serve/live": (*IMAGE_METRICS, metrics.REFERENCES, metrics.LAG),
    "workers/stream": STREAM_WORKER,
    "workers/supervise": DRIVER_METRICS,
}
"""By room: what everybody registers who builds something of it. A new kind of worker is a line."""


def touched(file: Path) -> frozenset[Metric]:
    """The metrics that a module names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "pipeline.metrics":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names |= {node.attr} if node.value.id == "metrics" else set()
    found = (getattr(metrics, name, None) for name in names)
    return frozenset(each for each in found if isinstance(each, Metric))


MODULES = {
    str(file.relative_to(ROOT)): touched(file)
    for package in ("pipeline", "workers")
    for file in sorted((ROOT / package).rglob("*.py"))
    if touched(file)
}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_touches_only_what_everybody_registers_who_builds_it(module: str) -> None:
    room = max((room for room in MAY_TOUCH if module.startswith(f"{room}/")), key=len)
    names = {metric.name for metric in MODULES[module] - frozenset(MAY_TOUCH[room])}
    assert names == set(), f"{module} would raise KeyError in a worker that registers {room}'s"


def test_every_metric_is_in_one_group_and_is_touched_by_somebody() -> None:
    groups = (
        IMAGE_METRICS,
        STORE_METRICS,
        STREAM_METRICS,
        DRIFT_METRICS,
        DRIVER_METRICS,
        FLEET_METRICS,
        HTTP_METRICS,
        BACKFILL_METRICS,
        BACKFILL_JOB_METRICS,
    )
    grouped = [metric for group in groups for metric in group]
    every = {value for value in vars(metrics).values() if isinstance(value, Metric)}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == every
    assert frozenset().union(*MODULES.values()) == every


@pytest.mark.parametrize(
    "group",
    [
        IMAGE_METRICS,
        STREAM_WORKER,
        DRIVER_METRICS,
        SERVE_REPLICA,
        BACKFILL_WORKER,
        BACKFILL_DRIVER,
    ],
)
def test_a_process_exposes_what_it_registers_and_nothing_else(group: tuple[Metric, ...]) -> None:
    exposed = {family.name for family in PrometheusMeter(group).registry.collect()}
    assert exposed == {metric.name.removesuffix("_total") for metric in group}
