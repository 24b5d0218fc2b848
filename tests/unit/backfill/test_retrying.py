"""The failed rows of a job become a job of their own."""

from __future__ import annotations

import contextlib

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.backfill import layout
from pipeline.backfill.job import Job
from pipeline.errors import Halt
from tests.rigs.backfill.committed_job import commit_shard, plan_job
from workers.backfill.repeating import plan_failed, require_same
from workers.commands.backfill.retrying import next_child

PARENT = "s3://derived/2024"


def parent() -> MemoryFolder:
    folder = MemoryFolder()
    job = plan_job(folder, 40, 10)
    commit_shard(folder, job, 0, {3: "fetch.not_found", 7: "decode.truncated"})
    commit_shard(folder, job, 1)
    commit_shard(folder, job, 2, {0: "fetch.denied", 9: "fetch.not_found"})
    folder.write(layout.IDENTITY, b"how rows are computed")
    return folder


def keys(child: MemoryFolder, job: Job) -> list[str]:
    found = []
    for shard in range(job.shards):
        plan = child.read(layout.plan_file(job.attempt, shard))
        assert plan is not None
        found += [row.key for row in plan_rows(plan.body)]
    return found


def planned(folder: MemoryFolder, child: MemoryFolder, codes: list[str], rows: int) -> Job:
    job = plan_failed(folder, PARENT, child, codes, rows)
    assert job is not None
    return job


@pytest.mark.parametrize(
    ("codes", "failed"),
    [
        (["*"], ["0003.jpg", "0007.jpg", "0020.jpg", "0029.jpg"]),
        (["fetch.*"], ["0003.jpg", "0020.jpg", "0029.jpg"]),
        (["decode.truncated", "fetch.denied"], ["0007.jpg", "0020.jpg"]),
    ],
)
def test_the_rows_with_the_named_codes_are_planned(codes: list[str], failed: list[str]) -> None:
    child = MemoryFolder()
    job = planned(parent(), child, codes, 2)
    assert keys(child, job) == failed
    assert (job.rows, job.shards) == (len(failed), (len(failed) + 1) // 2)
    assert (job.parent, job.source.kind) == (PARENT, "errors")


def test_rows_keep_what_the_plan_knows_of_them() -> None:
    child = MemoryFolder()
    job = planned(parent(), child, ["fetch.denied"], 10)
    plan = child.read(layout.plan_file(job.attempt, 0))
    assert plan is not None
    (row,) = plan_rows(plan.body)
    assert (row.bucket, row.key, row.etag, row.size_bytes) == (
        "photos",
        "0020.jpg",
        "etag-20",
        100,
    )


def test_the_child_must_compute_its_rows_as_the_parent_does() -> None:
    child = MemoryFolder()
    plan_failed(parent(), PARENT, child, ["*"], 10)
    found = child.read(layout.IDENTITY)
    assert found is not None
    assert found.body == b"how rows are computed"


def test_errors_of_lost_attempts_do_not_count() -> None:
    folder = parent()
    stray = folder.read(next(iter(folder.names("errors/"))))
    assert stray is not None
    folder.write(layout.errors_file(1, "f" * 16), stray.body)
    job = planned(folder, MemoryFolder(), ["*"], 10)
    assert job.rows == 4


def test_codes_that_nobody_failed_with_are_refused() -> None:
    child = MemoryFolder()
    with pytest.raises(Halt, match="no row failed with encode") as halted:
        plan_failed(parent(), PARENT, child, ["encode.*"], 10)
    assert halted.value.code == "backfill.no_errors"
    assert child.read(layout.JOB) is None


def test_an_output_without_a_job_has_nothing_to_retry() -> None:
    with pytest.raises(Halt, match="holds no job"):
        plan_failed(MemoryFolder(), PARENT, MemoryFolder(), ["*"], 10)


def test_an_errors_file_that_is_gone_is_named() -> None:
    folder = parent()
    name = next(iter(folder.names("errors/")))
    folder.delete(name)
    with pytest.raises(Halt, match=name):
        plan_failed(folder, PARENT, MemoryFolder(), ["*"], 10)


def test_the_same_retry_goes_on_until_it_is_complete_and_then_gets_a_new_number() -> None:
    children = {number: MemoryFolder() for number in range(1, 5)}

    def number_of(*codes: str) -> int:
        return next_child(lambda number: contextlib.nullcontext(children[number]), codes)

    assert number_of("fetch.*") == 1
    plan_failed(parent(), PARENT, children[1], ["fetch.*"], 10)
    assert number_of("fetch.*") == 1
    assert number_of("decode.*") == 2
    children[1].write(layout.SUCCESS, b"")
    assert number_of("fetch.*") == 2


def test_an_output_of_another_retry_is_refused() -> None:
    job = planned(parent(), MemoryFolder(), ["fetch.*"], 10)
    require_same(job, PARENT, ["fetch.*"])
    for uri, codes in ((PARENT, ["decode.*"]), ("s3://derived/2023", ["fetch.*"])):
        with pytest.raises(Halt) as halted:
            require_same(job, uri, codes)
        assert halted.value.code == "backfill.another_source"


def test_a_plan_that_is_stopped_leaves_no_job() -> None:
    child = MemoryFolder()
    assert plan_failed(parent(), PARENT, child, ["*"], 10, lambda rows: False) is None
    assert child.read(layout.JOB) is None
