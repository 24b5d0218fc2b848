"""A driver follows what is asked of its job while workers run it."""

from __future__ import annotations

import math

import pytest

from pipeline import metrics
from pipeline.backfill import layout
from pipeline.backfill.control import Wish, read_control
from pipeline.backfill.running.limits import Limits, Used
from pipeline.backfill.running.manners import Rates
from pipeline.backfill.running.progress import State
from pipeline.errors import Halt, Retry
from tests.rigs.backfill.job_driver import ROWS, JobStage
from workers.supervise.supervisor import ExitCode


def test_a_job_ends_once_all_its_shards_are_committed() -> None:
    stage = JobStage(20)
    assert stage.run() is ExitCode.OK
    assert stage.ledger.complete
    assert stage.progress.state is State.COMPLETE
    assert (stage.progress.rows_committed, stage.progress.shards_committed) == (20 * ROWS, 20)


def test_a_job_of_few_shards_starts_no_more_workers_than_shards() -> None:
    stage = JobStage(3, workers={"count": 8})
    stage.run()
    assert {look.wanted for look in stage.looks} <= {0, 1, 2, 3}
    assert len(stage.hands) == 3


def test_workers_return_their_shards_while_the_job_is_paused_and_come_back() -> None:
    stage = JobStage(40)
    stage.at = [(100, stage.ask(wish=Wish.PAUSE)), (400, stage.ask(wish=Wish.RUN))]
    assert stage.run() is ExitCode.OK
    assert stage.look_at(99).alive == 2
    # workers.grace_s is 30: what cannot be finished by then is returned.
    assert stage.look_at(140).alive == 0
    assert stage.look_at(399).alive == 0
    assert stage.look_at(420).alive == 2


def test_a_paused_job_has_nothing_in_work_and_says_so() -> None:
    stage = JobStage(40)
    stage.at = [
        (100, stage.ask(wish=Wish.PAUSE)),
        (300, stage.stopping.set),
    ]
    seen = []
    stage.at.insert(1, (200, lambda: seen.append((stage.progress, stage.ledger.in_work))))
    assert stage.run() is ExitCode.OK
    ((progress, in_work),) = seen
    assert (progress.state, progress.shards_in_work, in_work) == (State.PAUSED, 0, frozenset())
    assert stage.progress.state is State.STOPPED


def test_a_cancelled_job_ends_and_keeps_what_is_committed() -> None:
    stage = JobStage(40)
    stage.at = [(100, stage.ask(wish=Wish.CANCEL))]
    stage.run()
    assert stage.elapsed < 150
    assert 0 < len(stage.ledger.done) < 40
    assert stage.progress.state is State.CANCELLED


def test_workers_are_added_and_removed_by_command() -> None:
    stage = JobStage(200)
    stage.at = [
        (100, stage.ask(max_workers=6)),
        (300, stage.ask(max_workers=1)),
        (600, stage.ask(max_workers=None)),
        (700, stage.stopping.set),
    ]
    stage.run()
    assert [stage.look_at(at).alive for at in (90, 110, 290, 350, 590, 620)] == [2, 6, 6, 1, 1, 2]


def test_workers_that_leave_finish_what_they_can_and_return_the_rest() -> None:
    stage = JobStage(100, workers={"count": 4}, shard_s=50.0)
    stage.at = [(95, stage.ask(max_workers=1)), (200, stage.stopping.set)]
    stage.run()
    # Shards that began some 50 s ago are finished within workers.grace_s.
    assert all(hand.stops == [30.0] for hand in stage.hands[1:])
    assert stage.look_at(110).alive == 1
    assert not stage.ledger.in_work


def test_a_busy_worker_is_not_removed_because_few_shards_are_left() -> None:
    stage = JobStage(8, workers={"count": 4})
    stage.run()
    assert all(not hand.stops or len(stage.ledger.done) == 8 for hand in stage.hands)
    assert stage.elapsed < 70, "two shards at once in each of four workers"


def test_each_worker_has_its_share_of_the_rate_and_a_new_one_when_their_number_changes() -> None:
    stage = JobStage(100, policy={"objects_per_s": 120.0})
    stage.at = [
        (100, stage.ask(max_workers=4)),
        (200, stage.ask(objects_per_s=40.0, bytes_per_s=800.0)),
        (300, stage.stopping.set),
    ]
    shares: list[list[Rates]] = []
    for at in (90, 190, 290):
        stage.at.append((at, lambda: shares.append([hand.share for hand in stage.alive])))
    stage.at.sort(key=lambda each: each[0])
    stage.run()
    assert shares == [[Rates(60.0)] * 2, [Rates(30.0)] * 4, [Rates(10.0, 200.0)] * 4]


def test_a_rate_grows_in_steps_to_its_full_size() -> None:
    stage = JobStage(100, policy={"objects_per_s": 200.0, "ramp_up_s": 100.0})
    stage.at = [(150, stage.stopping.set)]
    stage.run()
    shares = [each.objects_per_s for each in stage.hands[0].shares if each.objects_per_s]
    assert shares[0] <= 10.0
    assert shares[-1] == 100.0
    assert shares[2:] == sorted(shares[2:])
    assert len(shares) < 30


def test_hours_pause_the_job_and_say_so() -> None:
    stage = JobStage(1000, limits=Limits(max_hours=1.0), used=Used(hours=0.9))
    assert stage.run() is ExitCode.OK
    assert stage.elapsed == pytest.approx(360, abs=60)
    control = read_control(stage.folder)
    assert (control.wish, control.by_limit) == (Wish.PAUSE, True)
    assert control.reason.startswith("--max-hours 1 is reached")
    assert stage.progress.reason == control.reason


def test_money_pauses_the_job_by_the_hours_of_its_gpus() -> None:
    stage = JobStage(1000, limits=Limits(max_cost=1.0, gpu_hour_price=10.0), gpus=0.5)
    stage.run()
    # Two workers with half a GPU each cost 10 an hour.
    assert stage.elapsed == pytest.approx(360, abs=60)
    assert stage.progress.used.cost == pytest.approx(1.0, abs=0.2)
    assert "--max-cost" in read_control(stage.folder).reason


def test_a_paused_job_uses_no_hours() -> None:
    stage = JobStage(40)
    stage.at = [(100, stage.ask(wish=Wish.PAUSE)), (1100, stage.ask(wish=Wish.RUN))]
    stage.run()
    assert stage.account.used.hours * 3600 < stage.elapsed - 900


def test_a_job_whose_workers_get_nowhere_halts() -> None:
    stage = JobStage(40, policy={"stuck_s": 300.0})

    def freeze() -> None:
        for hand in stage.hands:
            hand.stuck = True

    stage.at = [(100, freeze)]
    with pytest.raises(Halt, match=r"backfill\.stuck") as halted:
        stage.run()
    assert halted.value.code == "backfill.stuck"
    assert stage.progress.state is State.STOPPED
    assert "without an outcome of any row" in stage.progress.reason


def fill(stage: JobStage, *, full: bool) -> None:
    for hand in stage.hands:
        hand.full = full


@pytest.mark.parametrize("shards", [3, 40])
def test_a_job_whose_output_is_full_halts_and_does_not_look_at_its_rows_for_ever(
    shards: int,
) -> None:
    stage = JobStage(shards, workers={"count": 1}, policy={"stuck_s": 300.0})
    stage.at = [(70, lambda: fill(stage, full=True))]
    with pytest.raises(Halt, match=r"507 no room is left") as halted:
        stage.run()
    assert halted.value.code == "backfill.stuck"
    assert stage.elapsed < 70 + 2 * 60 + 300 + 60


def test_a_job_goes_on_when_its_output_has_room_again() -> None:
    stage = JobStage(40, policy={"stuck_s": 300.0})
    stage.at = [
        (70, lambda: fill(stage, full=True)),
        (400, lambda: fill(stage, full=False)),
    ]
    assert stage.run() is ExitCode.OK


def test_a_paused_job_is_not_stuck_although_its_output_was_full_before() -> None:
    stage = JobStage(40, policy={"stuck_s": 300.0})
    stage.at = [
        (70, lambda: fill(stage, full=True)),
        (320, stage.ask(wish=Wish.PAUSE)),
        (1320, stage.ask(wish=Wish.RUN)),
    ]
    assert stage.run() is ExitCode.OK


def fail(stage: JobStage) -> None:
    for hand in stage.hands:
        hand.failing = True


def test_a_job_halts_once_more_of_its_committed_rows_failed_than_may() -> None:
    """Each shard is small enough to be committed whatever failed."""
    stage = JobStage(40)
    stage.at = [(70, lambda: fail(stage))]
    with pytest.raises(Halt, match=r"rows of the job failed, most of them with fetch") as halted:
        stage.run()
    assert halted.value.code == "backfill.too_many_failures"
    # Four shards are classified and as many fail: half may. The next ones are too many.
    assert 8 < len(stage.ledger.done) <= 14
    assert "rows of the job failed" in stage.progress.reason


def test_a_job_of_failures_ends_if_they_are_allowed() -> None:
    stage = JobStage(40, policy={"max_failed_share": 1.0})
    stage.at = [(5, lambda: fail(stage))]
    assert stage.run() is ExitCode.OK


def test_a_slow_job_does_not_halt() -> None:
    stage = JobStage(6, policy={"stuck_s": 300.0}, shard_s=250.0)
    assert stage.run() is ExitCode.OK


class Lag:
    """Of the stream, as a test sets it."""

    def __init__(self) -> None:
        self.records = 0
        self.broken = False

    def __call__(self) -> int:
        if self.broken:
            raise Retry("kafka.unavailable", "kafka: nobody answers")
        return self.records

    def becomes(self, records: int) -> None:
        self.records = records


def test_places_are_given_to_the_stream_while_it_lags_and_taken_again_afterwards() -> None:
    lag = Lag()
    stage = JobStage(2000, workers={"count": 4}, policy={"yield_above_lag": 100}, stream_lag=lag)
    stage.at = [
        (100, lambda: lag.becomes(500)),
        (400, lambda: lag.becomes(10)),
        (1500, stage.stopping.set),
    ]
    given = []
    stage.at.insert(1, (300, lambda: given.append(stage.progress.given_back)))
    stage.run()
    assert stage.look_at(99).alive == 4
    # Half at once, within the grace period; half of the rest each half minute.
    assert stage.look_at(107).wanted == 2
    assert stage.look_at(140).alive == 2
    assert stage.look_at(240).alive == 0
    assert given == [4]
    assert stage.look_at(510).alive == 0, "two quiet minutes first"
    assert stage.look_at(1400).alive == 4


def test_places_stay_as_they_are_while_nobody_knows_the_streams_lag() -> None:
    lag = Lag()
    stage = JobStage(2000, policy={"yield_above_lag": 100}, stream_lag=lag)
    stage.at = [
        (100, lambda: lag.becomes(500)),
        (110, lambda: setattr(lag, "broken", True)),
        (800, stage.stopping.set),
    ]
    stage.run()
    assert {look.wanted for look in stage.looks if look.at > 120} == {1}


def test_a_store_that_does_not_answer_changes_nothing() -> None:
    stage = JobStage(40)

    def fail(name: str) -> None:
        raise Retry("s3.unavailable", "s3: nobody answers")

    read = stage.folder.read
    stage.at = [
        (50, lambda: setattr(stage.folder, "read", fail)),
        (300, lambda: setattr(stage.folder, "read", read)),
    ]
    assert stage.run() is ExitCode.OK


def test_metrics_show_the_shards_by_state() -> None:
    stage = JobStage(40)
    stage.at = [(100, stage.stopping.set)]
    stage.run()
    shards = {
        state: stage.meter.values(metrics.BACKFILL_SHARDS, state=state)
        for state in ("committed", "in_work", "waiting", "set_aside")
    }
    assert shards["committed"][0] == 0
    assert shards["committed"][-1] == len(stage.ledger.done)
    assert max(shards["in_work"]) == 4
    assert shards["in_work"][-1] == 0
    assert set(shards["set_aside"]) == {0}


def test_metrics_show_the_time_left_once_the_rate_is_known() -> None:
    stage = JobStage(200)
    stage.at = [(600, stage.stopping.set)]
    stage.run()
    left = stage.meter.values(metrics.BACKFILL_SECONDS_LEFT)
    assert math.isnan(left[0])
    # Four shards a minute, 160 to 164 are left.
    assert 2000 < left[-5] < 2900


def test_metrics_show_the_places_that_the_stream_was_given() -> None:
    lag = Lag()
    lag.becomes(500)
    stage = JobStage(200, policy={"yield_above_lag": 100}, stream_lag=lag)
    stage.at = [(60, stage.stopping.set)]
    stage.run()
    alone = JobStage(4)
    alone.run()
    assert stage.meter.values(metrics.BACKFILL_GIVEN_BACK)[-1] > 0
    assert set(alone.meter.values(metrics.BACKFILL_GIVEN_BACK)) == {0}


def test_progress_is_written_while_the_job_runs() -> None:
    stage = JobStage(200)
    written = []
    stage.at = [(95, lambda: written.append(stage.folder.read(layout.PROGRESS)))]
    stage.at += [(125, lambda: written.append(stage.folder.read(layout.PROGRESS)))]
    stage.at += [(130, stage.stopping.set)]
    stage.run()
    assert written[0] is not None
    assert written[0] != written[1]
