"""The committed results are of long runs, and say what the documents say."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_args

from pipeline.commit.order import Order
from tests.fault import soak
from tests.fault.backfill import dying, judge, kills
from tests.fault.backfill import soak as backfill_soak
from tests.fault.schedules import Kind
from tests.rigs.root import RESULTS
from tests.rigs.stages.fault_steps import Step

LEAST_SOAK_ROWS = 1_000_000


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return content


def test_a_thousand_schedules_lost_doubled_and_changed_nothing() -> None:
    summary = read("chaos-summary.json")
    assert summary["schedules"] >= 1000
    assert set(summary["by_step"]) == {str(step) for step in Step}
    assert set(summary["by_fault"]) == {str(kind) for kind in Kind}
    assert set(summary["by_order"]) == {*get_args(Order)}
    assert min(summary["by_order"].values()) > summary["schedules"] / 4
    assert sum(summary["by_step"].values()) >= summary["schedules"]
    assert [summary[name] for name in ("lost", "duplicated", "mismatched", "stuck")] == [0] * 4


def test_three_hundred_kills_lost_doubled_and_changed_no_row_of_a_backfill() -> None:
    summary = read("backfill-kills.json")
    assert sum(summary["by_fate"].values()) == summary["kills"] >= 300
    assert set(summary["by_fate"]) == {*dying.HOW}
    assert summary["drivers_in_twos"] >= 10
    assert summary["rows"] == summary["rounds"] * kills.SHARDS * kills.SHARD_ROWS
    assert sum(summary["outcomes"].values()) == summary["rows"]
    assert {"fetch.not_found", "decode.unsupported_format"} < set(summary["outcomes"])
    assert summary["least_cosine"] > judge.CLOSE
    faults = ("missing", "doubled", "different", "rewritten", "stuck")
    assert [summary[name] for name in faults] == [0] * 5


def test_millions_of_rows_leave_a_backfills_driver_small_and_its_worker_as_it_was() -> None:
    content = read("backfill-soak.json")
    samples = [backfill_soak.Sample(*each) for each in content["samples"]]
    names = {field.name for field in fields(backfill_soak.Result)} - {"samples"}
    result = backfill_soak.Result(**{name: content[name] for name in names}, samples=samples)
    assert result.rows >= LEAST_SOAK_ROWS
    assert result.faults() == []
    assert result.driver_mib == max(each.driver_mib for each in samples)
    assert samples[-1].committed == result.rows
    assert (RESULTS / "backfill-soak.png").read_bytes().startswith(b"\x89PNG")


def test_a_million_references_and_ten_minutes_without_a_store_leave_a_worker_as_it_was() -> None:
    content = read("soak.json")
    samples = [soak.Sample(*each) for each in content["samples"]]
    names = {field.name for field in fields(soak.Result)} - {"samples"}
    result = soak.Result(**{name: content[name] for name in names}, samples=samples)
    assert result.references >= 1_000_000
    assert result.outage_s >= 600
    assert result.faults() == []
    away = [each for each in samples if each.outage]
    assert away[-1].at_s - away[0].at_s >= 0.95 * result.outage_s
    assert (RESULTS / "soak.png").read_bytes().startswith(b"\x89PNG")
