"""What `make backfill-soak` holds against a run."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.backfill.running.ending import Files, Success
from pipeline.backfill.running.limits import Used
from pipeline.backfill.summary import Summary
from tests.fault.backfill.soak import Result, Sample, result
from tests.rigs.backfill import null_job

ROWS = 1_000


def success(in_files: int = ROWS) -> Success:
    return Success(
        job="j",
        plan_hash="p",
        at="",
        shards=1,
        summary=Summary(rows=ROWS, classified=ROWS),
        used=Used(),
        files=(Files(data="data/000000.parquet", rows=in_files),),
    )


def watched(last_mib: float) -> Result:
    """A worker of 100 MiB at first, which comes after ten seconds of planning."""
    samples = [Sample(each, 0, 300.0, 0.0) for each in range(10)]
    samples += [Sample(10 + each, each * 10, 310.0, 100.0) for each in range(90)]
    samples += [Sample(100 + each, 900 + each * 10, 320.0, last_mib) for each in range(11)]
    return result(ROWS, success(), 10.0, 0.5, samples)


def test_growth_is_of_the_last_tenth_of_the_rows_against_the_second() -> None:
    found = watched(104.0)
    assert (found.growth, found.worker_mib, found.driver_mib) == (0.04, 100.0, 320.0)
    assert (found.seconds, found.rows_per_second, found.worker_cpu_us_per_row) == (100, 10, 500)
    assert found.faults() == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"classified": 999}, "999 rows classified, of 1000"),
        ({"in_files": 1001}, "1001 rows in the data files, of 1000"),
        ({"driver_mib": 501.0}, "driver of 501.0 MiB, more than 500"),
        ({"growth": 0.06}, "worker's growth of 6.0%, more than 5%"),
    ],
)
def test_a_soak_fails_where_rows_are_missing_or_memory_grows(
    changed: dict[str, Any], fault: str
) -> None:
    assert replace(watched(100.0), **changed).faults() == [fault]


def test_manifests_name_each_object_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(null_job, "MANIFEST_ROWS", 300)
    keys = [
        key
        for body in null_job.manifests(ROWS)
        for key in pq.read_table(io.BytesIO(body)).column("key").to_pylist()
    ]
    assert len(keys) == len(set(keys)) == ROWS
