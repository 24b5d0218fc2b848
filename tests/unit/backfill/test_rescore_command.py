"""`clipstream backfill rescore` ends as a job does: closed, reported, or with shards left."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.backfill.running.ending import Success
from pipeline.backfill.running.progress import Progress, State
from pipeline.backfill.summary import Summary
from pipeline.ports import Encoder
from tests.rigs.stages.backfill_job import (
    ENCODER,
    LAST_FAILS,
    SHARD_ROWS,
    compiled,
    label_set,
    write_job,
)
from workers.backfill.output import Output
from workers.backfill.revising.rescoring import Rescorer, rescored
from workers.commands.backfill.revising import rescore as command
from workers.commands.backfill.standing import standing
from workers.settings.loading import Settings
from workers.supervise.supervisor import ExitCode

OLD, NEW = label_set("animals", 0.9), label_set("animals", 0.2)
PARENT, CHILD = "s3://derived/2024", "s3://derived/again"


class Stage:
    """The command on folders in memory."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders = {PARENT: MemoryFolder(), CHILD: MemoryFolder()}
        self.parent, self.child = self.folders.values()
        self._file = tmp_path / "animals.yaml"
        self._file.write_text(yaml.safe_dump(NEW))
        self._settings = Settings.model_validate({"label_sets": {"text_cache_dir": None}})

        def opened(settings: Settings, place: Output) -> MemoryFolder:
            return self.folders[str(place)]

        monkeypatch.setattr(command, "open_output", opened)
        monkeypatch.setattr(command, "probed", lambda settings, place: place)

    def run(self) -> ExitCode:
        def load(settings: Settings) -> Encoder:
            return ENCODER

        console = Console(file=io.StringIO())
        return command.run_rescore(self._settings, PARENT, [self._file], CHILD, console, load)

    @property
    def progress(self) -> Progress:
        found = self.child.read(layout.PROGRESS)
        assert found is not None
        return Progress.of_bytes(found.body, layout.PROGRESS)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_a_rescoring_of_all_shards_is_closed_and_has_a_report(stage: Stage) -> None:
    write_job(stage.parent, compiled(OLD))
    assert stage.run() is ExitCode.OK
    success = stage.child.read(layout.SUCCESS)
    assert success is not None
    counts = Success.of_bytes(success.body, layout.SUCCESS).summary
    assert (counts.classified, counts.failed) == (
        2 * LAST_FAILS,
        2 * (SHARD_ROWS - LAST_FAILS),
    )
    report = stage.child.read(layout.REPORT)
    assert report is not None
    assert b"animals" in report.body
    told = standing(stage.child, CHILD, HandClock())
    assert told.complete
    assert (stage.progress.state, stage.progress.shards_committed) == (State.COMPLETE, 2)
    assert stage.progress.used.hours > 0


def test_the_same_command_leaves_a_closed_rescoring_as_it_is(stage: Stage) -> None:
    write_job(stage.parent, compiled(OLD))
    stage.run()
    before = stage.child.read(layout.SUCCESS)
    assert stage.run() is ExitCode.OK
    assert stage.child.read(layout.SUCCESS) == before


def test_a_rescoring_of_a_job_that_still_runs_is_left_open(stage: Stage) -> None:
    write_job(stage.parent, compiled(OLD), shards=3, uncommitted=[1])
    assert stage.run() is ExitCode.INCOMPLETE
    assert stage.child.read(layout.SUCCESS) is None
    assert (stage.progress.state, stage.progress.shards_committed) == (State.STOPPED, 2)


def test_a_rescoring_that_is_stopped_says_that_shards_are_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job(stage.parent, compiled(OLD), shards=5)
    monkeypatch.setattr(command, "MOST_THREADS", 1)

    def stopped(
        rescorer: Rescorer,
        shards: Sequence[int],
        threads: int,
        stopping: threading.Event,
        beat: Callable[[], object],
    ) -> Iterator[Summary]:
        for summary in rescored(rescorer, shards, threads, stopping, beat):
            yield summary
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(command, "rescored", stopped)
    assert stage.run() is ExitCode.INCOMPLETE
    assert len(list(stage.child.names(layout.DATA))) == 1
    assert stage.child.read(layout.SUCCESS) is None


def test_a_rescoring_whose_lease_another_has_says_that_shards_are_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job(stage.parent, compiled(OLD))
    monkeypatch.setattr(command, "take_lease", lambda *given: None)
    assert stage.run() is ExitCode.INCOMPLETE
    assert list(stage.child.names(layout.DATA)) == []
