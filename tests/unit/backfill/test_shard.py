"""A shard from its plan file to its results file, and what keeps one from being committed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.cutting import complete
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.backfill import layout
from pipeline.backfill.ledger import Task
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt, Retry, StoreDenied
from pipeline.records import ImageRef
from pipeline.routes import RoutePolicy
from tests.rigs.stages.null_shards import (
    committed_metadata,
    expected,
    keys_of,
    null_job,
    null_rules,
    null_runner,
    outcomes,
    table,
)
from workers.backfill.shard import PATIENCE_S, Progress, ShardRunner

ROWS = 20
NO_METADATA: Mapping[str, str] = {}


@pytest.fixture
def folder() -> MemoryFolder:
    return MemoryFolder()


def run(runner: ShardRunner, task: Task, progress: Progress | None = None) -> Summary:
    return asyncio.run(runner.run(task, progress or Progress()))


def halt_of(runner: ShardRunner, task: Task) -> Halt:
    """A halt of one row comes as a group, of which the worker takes the first."""
    with pytest.raises((Halt, ExceptionGroup)) as caught:
        run(runner, task)
    error = caught.value
    found = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    assert isinstance(found, Halt)
    return found


def test_every_row_of_a_shard_is_committed_once(folder: MemoryFolder) -> None:
    keys = keys_of(ROWS + 3, bad=[2, ROWS + 1])
    job = null_job(folder, keys, ROWS)
    runner = null_runner(folder, job)
    progress = Progress()
    first = run(runner, Task(0), progress)
    second = run(runner, Task(1))
    assert (first.rows, first.classified, first.failed) == (ROWS, ROWS - 1, 1)
    assert second.rows == 3
    assert first.codes == {"fetch.not_found": 1}
    assert progress.left == 0
    assert outcomes(folder) == expected(keys)
    rows = table(folder, layout.data_file(0))
    assert sorted(row["row"] for row in rows) == [each for each in range(ROWS) if each != 2]
    assert Summary.model_validate(committed_metadata(folder, 0)["summary"]) == first


def test_a_shard_that_was_committed_before_stays_as_it_is(folder: MemoryFolder) -> None:
    job = null_job(folder, keys_of(ROWS), ROWS)
    run(null_runner(folder, job), Task(0))
    before = folder.read(layout.data_file(0))
    run(null_runner(folder, job), Task(0, excluded=(1, 2)))
    assert folder.read(layout.data_file(0)) == before
    assert outcomes(folder) == expected(keys_of(ROWS))


def test_an_empty_shard_is_committed_as_a_file_without_rows(folder: MemoryFolder) -> None:
    job = null_job(folder, keys_of(1), ROWS)
    folder.write(layout.plan_file("a1", 0), plan_bytes(complete({}, 0)))
    summary = run(null_runner(folder, job), Task(0))
    assert summary == Summary(seconds=summary.seconds)
    assert table(folder, layout.data_file(0)) == []
    assert committed_metadata(folder, 0)["errors_file"] is None
    assert list(folder.names(layout.ERRORS)) == []


def test_a_shard_of_failures_alone_is_committed_if_the_budget_allows(folder: MemoryFolder) -> None:
    keys = keys_of(300, bad=range(300))
    job = null_job(folder, keys, 300)
    halt = halt_of(null_runner(folder, job), Task(0))
    assert halt.code == "backfill.too_many_failures"
    assert "300 of 300 rows of shard 0" in halt.message
    assert "fetch.not_found (no such object)" in halt.message
    assert list(folder.names(layout.DATA)) == []
    run(null_runner(folder, job, max_failed_share=1.0), Task(0))
    assert table(folder, layout.data_file(0)) == []
    assert outcomes(folder) == expected(keys)


def test_a_shard_that_its_route_skips_is_committed_without_rows(folder: MemoryFolder) -> None:
    rules = null_rules(RoutePolicy(skip=True))
    job = null_job(folder, keys_of(ROWS, bad=range(ROWS)), ROWS)
    summary = run(null_runner(folder, job, rules=rules), Task(0))
    assert (summary.rows, summary.skipped, summary.failed) == (ROWS, ROWS, 0)
    assert table(folder, layout.data_file(0)) == []
    assert outcomes(folder) == {}


def test_a_row_without_a_route_is_an_error_row(folder: MemoryFolder) -> None:
    rules = null_rules(RoutePolicy(bucket="others", skip=True))
    keys = keys_of(ROWS)
    run(null_runner(folder, null_job(folder, keys, ROWS), rules=rules), Task(0))
    assert outcomes(folder) == dict.fromkeys(keys, "reference.no_route")


def test_a_few_failures_halt_no_job(folder: MemoryFolder) -> None:
    keys = keys_of(ROWS, bad=range(ROWS))
    run(null_runner(folder, null_job(folder, keys, ROWS)), Task(0))
    assert outcomes(folder) == expected(keys)


def test_a_trial_commits_nothing_and_touches_only_its_rows(folder: MemoryFolder) -> None:
    seen: list[str] = []
    keys = keys_of(ROWS)
    runner = null_runner(folder, null_job(folder, keys, ROWS), lambda ref: seen.append(ref.key))
    summary = run(runner, Task(0, rows=(5, 9), excluded=(6,), alone=True))
    assert (summary.rows, summary.codes) == (4, {"internal.process_died": 1})
    assert sorted(seen) == [keys[5], keys[7], keys[8]]
    assert list(folder.names(layout.DATA)) == []
    assert list(folder.names(layout.ERRORS)) == []


def test_rows_that_kill_their_process_become_errors_without_being_touched(
    folder: MemoryFolder,
) -> None:
    keys = keys_of(ROWS)

    def look(ref: ImageRef) -> None:
        assert ref.key != keys[7]

    run(null_runner(folder, null_job(folder, keys, ROWS), look), Task(0, excluded=(7,)))
    assert outcomes(folder) == expected(keys) | {keys[7]: "internal.process_died"}


def test_a_halt_of_one_row_ends_the_shard(folder: MemoryFolder) -> None:
    def look(ref: ImageRef) -> None:
        raise Halt("encode.unusable", "the device is broken")

    runner = null_runner(folder, null_job(folder, keys_of(ROWS), ROWS), look)
    assert halt_of(runner, Task(0)).code == "encode.unusable"
    assert list(folder.names(layout.DATA)) == []


def test_a_process_that_runs_out_of_memory_commits_nothing(folder: MemoryFolder) -> None:
    def look(ref: ImageRef) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    runner = null_runner(folder, null_job(folder, keys_of(ROWS), ROWS), look)
    with pytest.raises(ExceptionGroup):
        run(runner, Task(0))
    assert list(folder.names(layout.DATA)) == []


def test_a_plan_file_that_is_gone_halts(folder: MemoryFolder) -> None:
    job = null_job(folder, keys_of(ROWS), ROWS)
    folder.delete(layout.plan_file("a1", 0))
    assert halt_of(null_runner(folder, job), Task(0)).code == "backfill.plan_missing"


def test_results_of_another_job_are_not_taken_for_ones_own(folder: MemoryFolder) -> None:
    run(null_runner(folder, null_job(folder, keys_of(ROWS), ROWS)), Task(0))
    other = null_job(folder, keys_of(ROWS + 1)[1:], ROWS, "a2")
    assert halt_of(null_runner(folder, other), Task(0)).code == "backfill.foreign_output"


class Failing(MemoryFolder):
    """Fails the next writes of data files."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Retry] = []
        self.lost = False
        """Whether a failed write has happened all the same."""

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
        if name.startswith(layout.DATA) and self.failures:
            if self.lost:
                super().create(name, body, metadata)
            raise self.failures.pop()
        return super().create(name, body, metadata)


@pytest.mark.parametrize("lost", [False, True])
def test_an_outage_of_the_output_costs_no_row(lost: bool) -> None:
    folder = Failing()
    keys = keys_of(ROWS)
    job = null_job(folder, keys, ROWS)
    folder.lost = lost
    folder.failures = [Retry("output.failed", "503")] * len(PATIENCE_S)
    calls: list[str] = []
    summary = run(null_runner(folder, job, lambda ref: calls.append(ref.key)), Task(0))
    assert summary.classified == ROWS
    assert len(calls) == ROWS, "rows are classified once"
    assert outcomes(folder) == expected(keys)


def test_an_output_that_stays_down_returns_the_shard() -> None:
    folder = Failing()
    job = null_job(folder, keys_of(ROWS), ROWS)
    folder.failures = [Retry("output.failed", "503")] * 99
    with pytest.raises(Retry, match="503"):
        run(null_runner(folder, job), Task(0))


def test_an_output_that_refuses_halts_the_job() -> None:
    folder = Failing()
    job = null_job(folder, keys_of(ROWS), ROWS)
    folder.failures = [StoreDenied("output.forbidden", "403; grant s3:PutObject")] * 99
    halt = halt_of(null_runner(folder, job), Task(0))
    assert (halt.code, halt.message) == ("backfill.output_refused", "403; grant s3:PutObject")


@pytest.mark.parametrize("dies_at", [layout.ERRORS, layout.DATA])
def test_a_worker_that_dies_between_its_files_leaves_nothing_visible(dies_at: str) -> None:
    class Dying(MemoryFolder):
        dies = True

        def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
            if name.startswith(dies_at) and self.dies:
                raise KeyboardInterrupt
            return super().create(name, body, metadata)

        def write(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
            if name.startswith(dies_at) and self.dies:
                raise KeyboardInterrupt
            super().write(name, body, metadata)

    folder = Dying()
    keys = keys_of(ROWS, bad=[3])
    job = null_job(folder, keys, ROWS)
    with pytest.raises(KeyboardInterrupt):
        run(null_runner(folder, job), Task(0))
    assert outcomes(folder) == {}
    folder.dies = False
    run(null_runner(folder, job), Task(0))
    assert outcomes(folder) == expected(keys)
