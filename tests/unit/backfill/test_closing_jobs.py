"""The end of a job, how it stands, and what a person asks of it: all from the objects of its
output."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.footer import committed_footer
from pipeline.backfill import layout
from pipeline.backfill.control import Control, Lease, Wish, read_control
from pipeline.backfill.running.limits import NO_LIMITS, Used
from pipeline.backfill.running.progress import Left
from pipeline.errors import Halt
from tests.rigs.backfill.committed_job import commit_shard, plan_job
from tests.rigs.backfill.job_driver import JobStage, job_of
from workers.backfill.report.gather import gather
from workers.commands.backfill import driver
from workers.commands.backfill.asking import ask_in, cancelled, paused, resumed, scaled
from workers.commands.backfill.driving.ending import close_job
from workers.commands.backfill.driving.view import duration, left_in_words, told
from workers.commands.backfill.standing import lines, standing
from workers.settings.loading import Settings
from workers.supervise.supervisor import ExitCode

OUTPUT = "s3://derived/2024"


def finished(folder: MemoryFolder) -> None:
    job = plan_job(folder, 25, 10)
    commit_shard(folder, job, 0, {3: "fetch.not_found", 7: "decode.truncated"})
    commit_shard(folder, job, 1)
    commit_shard(folder, job, 2, {0: "fetch.not_found"})


def test_success_counts_what_the_files_say_and_names_them() -> None:
    folder = MemoryFolder()
    finished(folder)
    success = close_job(folder, gather(folder), Used(hours=2.0), HandClock())
    assert success.summary.model_dump(include={"rows", "classified", "failed", "seconds"}) == {
        "rows": 25,
        "classified": 22,
        "failed": 3,
        "seconds": 30.0,
    }
    assert success.summary.codes == {"decode.truncated": 1, "fetch.not_found": 2}
    assert [each.data for each in success.files] == [layout.data_file(shard) for shard in range(3)]
    assert [each.errors is not None for each in success.files] == [True, False, True]
    assert success.used.hours == 2.0


def test_success_is_written_once() -> None:
    folder = MemoryFolder()
    finished(folder)
    gathered = gather(folder)
    first = close_job(folder, gathered, Used(hours=2.0), HandClock())
    assert close_job(folder, gathered, Used(hours=9.0), HandClock(9999.0)) == first


def test_a_file_of_another_job_is_no_success() -> None:
    folder = MemoryFolder()
    finished(folder)
    job = plan_job(folder, 25, 10).model_copy(update={"plan_hash": "another"})
    folder.write(layout.JOB, job.as_bytes())
    with pytest.raises(Halt, match="belongs to another job"):
        gather(folder)


def test_a_job_one_of_whose_files_is_gone_is_no_success() -> None:
    folder = MemoryFolder()
    finished(folder)
    folder.delete(layout.data_file(1))
    with pytest.raises(Halt, match=r"data/000001\.parquet: is gone"):
        close_job(folder, gather(folder), Used(), HandClock())
    assert folder.read(layout.SUCCESS) is None


def test_a_complete_job_is_closed_and_reported_with_one_read_of_each_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counting(MemoryFolder):
        read_ends: ClassVar[list[str]] = []

        def tail(self, name: str, length: int) -> bytes | None:
            self.read_ends.append(name)
            return super().tail(name, length)

    folder = Counting()
    finished(folder)
    job = plan_job(folder, 25, 10)
    monkeypatch.setattr(driver, "probed", lambda settings, place: place)
    monkeypatch.setattr(driver, "open_output", lambda settings, place: folder)
    assert driver.run_job(Settings(), OUTPUT, lambda *found: job, NO_LIMITS) is ExitCode.OK
    assert folder.read(layout.SUCCESS) is not None
    assert folder.read(layout.REPORT) is not None
    names = [layout.data_file(shard) for shard in range(3)]
    assert sorted(folder.read_ends) == names


def test_the_same_command_leaves_a_complete_job_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = MemoryFolder()
    finished(folder)
    job = plan_job(folder, 25, 10)
    monkeypatch.setattr(driver, "probed", lambda settings, place: place)
    monkeypatch.setattr(driver, "open_output", lambda settings, place: folder)
    seen = []
    for _ in range(2):
        assert driver.run_job(Settings(), OUTPUT, lambda *found: job, NO_LIMITS) is ExitCode.OK
        names = [*folder.names(layout.DATA), *folder.names(layout.ERRORS), layout.SUCCESS]
        seen.append([(name, folder.read(name)) for name in names])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 6


def test_a_complete_job_with_more_failures_than_may_be_is_closed_once_they_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = MemoryFolder()
    job = plan_job(folder, 180, 60)
    for shard in range(3):
        commit_shard(folder, job, shard, dict.fromkeys(range(40), "fetch.not_found"))
    monkeypatch.setattr(driver, "probed", lambda settings, place: place)
    monkeypatch.setattr(driver, "open_output", lambda settings, place: folder)
    with pytest.raises(Halt, match=r"120 of 180 rows of the job failed") as halted:
        driver.run_job(Settings(), OUTPUT, lambda *found: job, NO_LIMITS)
    assert halted.value.code == "backfill.too_many_failures"
    assert folder.read(layout.SUCCESS) is None
    allowing = Settings.model_validate({"backfill": {"max_failed_share": 0.7}})
    assert driver.run_job(allowing, OUTPUT, lambda *found: job, NO_LIMITS) is ExitCode.OK
    assert folder.read(layout.SUCCESS) is not None


def test_footers_are_read_from_the_end_of_a_file_however_long_they_are() -> None:
    folder = MemoryFolder()
    job = plan_job(folder, 2000, 2000)
    codes = {number: f"code.{number:04}{'x' * 60}" for number in range(2000)}
    commit_shard(folder, job, 0, codes)
    footer = committed_footer(folder, 0)
    assert (footer.summary.failed, len(footer.summary.codes)) == (2000, 2000)


@pytest.mark.parametrize("body", [b"", b"PAR1", b"x" * 100, None])
def test_a_data_file_that_is_none_is_named(body: bytes | None) -> None:
    folder = MemoryFolder()
    if body is not None:
        folder.write(layout.data_file(4), body)
    with pytest.raises(Halt, match=r"data/000004\.parquet"):
        committed_footer(folder, 4)


def leased(folder: MemoryFolder, clock: HandClock, *, ended: bool = False) -> None:
    at = datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds")
    lease = Lease(driver="d", host="host-a", renewed_at=at, ended=ended)
    folder.write(layout.LEASE, lease.as_bytes())


def shown(folder: MemoryFolder, clock: HandClock) -> dict[str, str]:
    return dict(lines(standing(folder, OUTPUT, clock), clock))


def test_status_of_a_running_job_shows_its_progress_and_its_driver() -> None:
    stage = JobStage(40)
    stage.folder.write(layout.JOB, stage.job.as_bytes())
    leased(stage.folder, stage.clock)
    looks: list[dict[str, str]] = []
    stage.at = [
        (30, lambda: looks.append(shown(stage.folder, stage.clock))),
        (40, stage.stopping.set),
    ]
    stage.run()
    (look,) = looks
    assert look["committed"] == "0 of 40 shards (0.0 %) of 4,000 rows"
    assert look["driver"] == "on host-a, its lease is 30 s old"
    assert look["asked to"] == "run"
    assert look["shards"] == "0 of 40, 4 in work"
    assert look["workers"] == "2 wanted: 2 ready"
    assert "shard 0" in look


def test_status_works_before_a_driver_has_written_anything() -> None:
    folder = MemoryFolder()
    finished(folder)
    look = shown(folder, HandClock())
    assert look["committed"] == "3 of 3 shards (100.0 %) of 25 rows"
    assert look["driver"] == "none yet"


def test_status_of_a_complete_job_shows_its_counts() -> None:
    folder = MemoryFolder()
    finished(folder)
    close_job(folder, gather(folder), Used(), HandClock())
    look = shown(folder, HandClock())
    assert look["complete"] == "22 classified, 3 failed, 0 skipped"
    assert look["by code"] == "decode.truncated 1, fetch.not_found 2"


def test_status_tells_a_crashed_driver_from_one_that_has_ended() -> None:
    folder, clock = MemoryFolder(), HandClock()
    finished(folder)
    leased(folder, clock, ended=True)
    assert shown(folder, clock)["driver"] == "none: the last one, on host-a, has ended"
    leased(folder, clock)
    clock.now += 600
    told = shown(folder, clock)["driver"]
    assert told == "none: the last one, on host-a, may have crashed; its lease is 10 min old"


def test_status_and_orders_need_a_job() -> None:
    for each in (
        lambda: standing(MemoryFolder(), OUTPUT, HandClock()),
        lambda: ask_in(MemoryFolder(), OUTPUT, paused, HandClock()),
    ):
        with pytest.raises(Halt) as halted:
            each()
        assert halted.value.code == "backfill.no_job"


def test_what_a_person_asks_is_written_for_the_driver() -> None:
    folder, clock = MemoryFolder(), HandClock()
    folder.write(layout.JOB, job_of(3).as_bytes())
    leased(folder, clock)
    assert ask_in(folder, OUTPUT, paused, clock) == (
        f"{OUTPUT}: is asked to pause; its driver on host-a follows within seconds"
    )
    ask_in(folder, OUTPUT, scaled(8, 100.0, None), clock)
    assert read_control(folder) == Control(wish=Wish.PAUSE, max_workers=8, objects_per_s=100.0)
    ask_in(folder, OUTPUT, scaled(0, None, 2e6), clock)
    ask_in(folder, OUTPUT, cancelled, clock)
    assert read_control(folder) == Control(wish=Wish.CANCEL, objects_per_s=100.0, bytes_per_s=2e6)


def test_resuming_a_job_without_a_driver_says_that_one_must_be_started() -> None:
    folder, clock = MemoryFolder(), HandClock()
    folder.write(layout.JOB, job_of(3).as_bytes())
    limit = Control(wish=Wish.PAUSE, by_limit=True, reason="--max-hours 1 is reached")
    folder.write(layout.CONTROL, limit.as_bytes())
    assert "give the command `clipstream backfill run` again" in ask_in(
        folder, OUTPUT, resumed, clock
    )
    assert read_control(folder) == Control()


def test_asking_of_a_complete_job_says_that_it_is() -> None:
    folder = MemoryFolder()
    finished(folder)
    close_job(folder, gather(folder), Used(), HandClock())
    assert ask_in(folder, OUTPUT, paused, HandClock()).endswith("but the job is complete")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (95, "2 min"),
        (3600, "1 h"),
        (11520, "3 h 12 min"),
        (86400, "1 d"),
        (100_800, "1 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_time_left_is_told_with_its_range() -> None:
    left = Left(soonest=3600, likely=4200, latest=7200)
    assert left_in_words(left) == "1 h 10 min (1 h to 2 h)"


def test_a_view_names_the_largest_codes_and_shards_that_are_set_aside() -> None:
    stage = JobStage(4)
    stage.run()
    codes = {f"code.{number}": 20 - number for number in range(10)}
    progress = stage.progress.model_copy(
        update={"codes": codes, "set_aside": (3, 17), "given_back": 2}
    )
    look = dict(told(progress))
    assert look["by code"].startswith("code.0 20, code.1 19")
    assert look["by code"].endswith("and 2 other codes")
    assert look["set aside"].startswith("3, 17")
    assert look["given back"] == "2 places, to the stream"
