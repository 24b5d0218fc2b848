"""The commit gate alone, then in a stream worker: a window of failures is not committed."""

from __future__ import annotations

from functools import partial

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.memory.stream import MemoryBroker
from pipeline.commit.budget import BudgetPolicy, FailureBudget
from pipeline.commit.settled import PassedOver, Settled
from pipeline.errors import Halt
from pipeline.metrics import BUDGET_SPENT, STREAM_METRICS
from pipeline.records import ImageRef, Origin, OutputTopic, Position
from tests.rigs.waiting import eventually
from tests.rigs.workers.committing import BYTES, GROUP, PARTITION, WINDOW, Worker, judged
from tests.rigs.workers.outcomes import classified, dead_lettered
from tests.rigs.workers.scripted_trials import ScriptedTrials
from tests.rigs.workers.stream_worker import TOPIC, committed, running, send, visible
from workers.stream.commit_gate import FROM_THE_START, GOOD_FOR_S, CommitGate

HOLD_S = 5.0
BUCKET = "uploads"


class Bench:
    """A gate, its clock, and trials of good images that end when the test says how."""

    def __init__(self) -> None:
        self.clock = HandClock(0.0)
        self.meter = MemoryMeter(STREAM_METRICS)
        self.scripted = ScriptedTrials()
        self.trials = self.scripted.begun
        self.gate = CommitGate(
            FailureBudget(BudgetPolicy(window=WINDOW)),
            HOLD_S,
            self.scripted,
            clock=self.clock,
            meter=self.meter,
        )

    def admits(self, *codes: str | None, stopping: bool = False) -> bool:
        return self.gate.admits(map(settled, codes), stopping=stopping)

    def committed(self, *codes: str | None) -> None:
        for code in codes:
            self.gate.committed(settled(code))

    def share(self) -> float | None:
        return self.meter.value(BUDGET_SPENT)


def settled(code: str | None, bucket: str = BUCKET) -> Settled:
    position = Position(PARTITION, 0)
    if code is None:
        return classified(position)
    if code == "skip":
        return PassedOver(Origin(position, 0, 0), "folder")
    return dead_lettered(position, code, ref=ImageRef(bucket, "key", ("things",)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_good_outcomes_pass(bench: Bench) -> None:
    assert bench.admits(None, None, "fetch.timeout", None)
    assert bench.admits()
    assert bench.share() == 0


def test_skips_are_no_outcomes_to_judge(bench: Bench) -> None:
    assert not bench.admits(*["skip"] * 100, "fetch.failed")
    assert bench.share() == 1


def test_failures_wait_until_enough_is_known(bench: Bench) -> None:
    assert not bench.admits("fetch.failed")
    bench.clock.now = 1.0
    assert bench.admits("fetch.failed", None)


def test_they_do_not_wait_for_longer_than_they_may(bench: Bench) -> None:
    bench.committed(None, None)
    assert not bench.admits("fetch.failed")
    bench.clock.now = HOLD_S
    assert bench.admits("fetch.failed")
    # The next ones have a time of their own.
    assert not bench.admits("fetch.failed")


def test_they_do_not_wait_where_no_more_will_join_them(bench: Bench) -> None:
    assert bench.admits("fetch.failed", stopping=True)


def test_a_window_of_them_halts(bench: Bench) -> None:
    with pytest.raises(Halt, match=r"10 of 10 references .* the fetch stage") as caught:
        bench.admits(*["fetch.failed"] * WINDOW, stopping=True)
    assert caught.value.code == "budget.spent"
    assert "failure_budget.max_share" in caught.value.message


def test_slow_failures_halt_as_well_in_time(bench: Bench) -> None:
    bench.committed(*[None] * WINDOW)
    for _ in range(WINDOW // 2):
        assert not bench.admits("fetch.failed")
        bench.clock.now += HOLD_S
        assert bench.admits("fetch.failed")
        bench.committed("fetch.failed")
    with pytest.raises(Halt):
        bench.admits("fetch.failed")


@pytest.mark.parametrize("before", [(), ("fetch.timeout",), (None, "fetch.timeout")])
def test_a_run_that_has_seen_little_but_failures_waits_long(
    bench: Bench, before: tuple[str | None, ...]
) -> None:
    bench.committed(*before)
    assert not bench.admits("fetch.failed")
    bench.clock.now += HOLD_S * FROM_THE_START - 0.1
    assert not bench.admits("fetch.failed")
    assert bench.gate.holds
    bench.clock.now += 0.2
    assert bench.admits("fetch.failed")
    assert not bench.gate.holds


def test_malformed_input_passes_while_good_images_do(bench: Bench) -> None:
    assert not bench.admits(*["decode.corrupt"] * WINDOW)
    assert not bench.admits(*["decode.corrupt"] * WINDOW), "not before the trial has ended"
    (trial,) = bench.trials
    trial.set_result(True)
    assert bench.admits(*["decode.corrupt"] * WINDOW)
    assert bench.admits(*["decode.corrupt"] * WINDOW)
    assert len(bench.trials) == 1


def test_what_became_of_good_images_counts_for_a_while_only(bench: Bench) -> None:
    bench.admits("decode.corrupt")
    bench.trials[0].set_result(True)
    assert bench.admits("decode.corrupt")
    bench.clock.now = GOOD_FOR_S + 0.1
    assert not bench.admits("decode.corrupt")
    bench.trials[1].set_result(False)
    with pytest.raises(Halt, match="bundled good images fail as well"):
        bench.admits(*["decode.corrupt"] * WINDOW)


def test_a_trial_may_take_longer_than_its_result_counts(bench: Bench) -> None:
    """As where the decoder hangs, which is what has made the images fail."""
    bench.admits("decode.timeout")
    bench.clock.now = 10 * GOOD_FOR_S
    bench.trials[0].set_result(False)
    with pytest.raises(Halt, match="bundled good images fail as well"):
        bench.admits(*["decode.timeout"] * WINDOW)
    assert len(bench.trials) == 1


@pytest.mark.parametrize("code", ["fetch.not_found", "fetch.forbidden", "fetch.superseded"])
def test_missing_objects_pass_while_others_of_their_bucket_are_read(
    bench: Bench, code: str
) -> None:
    assert not bench.admits(*[code] * WINDOW), "not before the trial has ended"
    assert bench.scripted.buckets_tried == [BUCKET]
    bench.trials[0].set_result(True)
    assert bench.admits(*[code] * WINDOW)


def test_missing_objects_halt_where_nothing_of_their_bucket_can_be_read(bench: Bench) -> None:
    bench.admits(*["fetch.not_found"] * WINDOW)
    bench.trials[0].set_result(False)
    with pytest.raises(Halt, match=f"no object that was read before can be read from {BUCKET}"):
        bench.admits(*["fetch.not_found"] * WINDOW)


def test_what_is_missing_of_one_bucket_does_not_stop_for_another(bench: Bench) -> None:
    """Nothing of the second one was ever read, as where a sender makes names up."""
    missing = [settled("fetch.not_found")] * 6 + [settled("fetch.not_found", "made-up")] * 4
    assert not bench.gate.admits(missing, stopping=False)
    assert bench.scripted.buckets_tried == [BUCKET, "made-up"]
    bench.trials[0].set_result(True)
    assert not bench.gate.admits(missing, stopping=False)
    bench.trials[1].set_result(False)
    assert bench.gate.admits(missing, stopping=False), "four of ten are no excess"
    mostly = missing[5:] + missing[5:]
    with pytest.raises(Halt):
        bench.gate.admits(mostly, stopping=False)


def test_each_bucket_is_tried_once_however_many_there_are(bench: Bench) -> None:
    for number in range(50):
        names = [f"bucket-{each}" for each in range(number + 1)]
        bench.gate.admits([settled("fetch.not_found", name) for name in names], stopping=False)
    assert sorted(bench.scripted.buckets_tried) == sorted({f"bucket-{n}" for n in range(50)})


def test_a_bucket_that_nobody_asks_for_again_is_forgotten(bench: Bench) -> None:
    bench.gate.admits([settled("fetch.not_found", "made-up")], stopping=False)
    bench.trials[0].set_result(False)
    bench.admits("fetch.not_found")
    assert set(bench.gate._begun) == {BUCKET}
    bench.clock.now += GOOD_FOR_S + 0.1
    bench.admits("fetch.not_found")
    assert bench.gate._verdicts == {}


def test_a_verdict_on_good_images_is_none_on_buckets(bench: Bench) -> None:
    bench.admits(*["decode.corrupt"] * WINDOW)
    bench.trials[0].set_result(True)
    assert bench.admits(*["decode.corrupt"] * WINDOW)
    assert not bench.admits(*["fetch.not_found"] * WINDOW)
    assert len(bench.trials) == 2


@pytest.mark.parametrize(
    "code",
    [
        "reference.not_json",
        "reference.not_allowed",
        "reference.unknown_label_set",
        "reference.no_route",
        "fetch.bucket_not_allowed",
        "fetch.no_bucket",
    ],
)
def test_what_a_message_alone_decides_never_counts(bench: Bench, code: str) -> None:
    assert bench.admits(*[code] * 10 * WINDOW)
    assert bench.trials == []
    bench.committed(*[code] * WINDOW)
    assert not bench.admits("fetch.failed"), "and dilutes no failures that do"
    with pytest.raises(Halt):
        bench.admits(*[code] * 10 * WINDOW, *["fetch.failed"] * WINDOW)


def test_the_share_is_shown_while_something_is_held_back(bench: Bench) -> None:
    bench.committed(*[None] * WINDOW)
    bench.admits("fetch.failed", None, "fetch.failed")
    assert bench.share() == pytest.approx(2 / 3)
    bench.clock.now = HOLD_S
    assert bench.admits("fetch.failed")
    assert bench.share() == 0


def test_what_is_gone_is_not_held_against_what_comes_later(bench: Bench) -> None:
    """As where its partition was taken away."""
    bench.admits("fetch.failed")
    bench.gate.nothing_waits()
    assert bench.share() == 0
    bench.clock.now = 10 * HOLD_S
    assert not bench.admits("fetch.failed")


def test_a_trial_that_halts_halts(bench: Bench) -> None:
    bench.admits("decode.corrupt")
    bench.trials[0].set_exception(Halt("decode.unavailable", "no child"))
    with pytest.raises(Halt, match="no child"):
        bench.admits("decode.corrupt")


def gate_of(*, good: bool, meter: MemoryMeter | None = None) -> CommitGate:
    return CommitGate(
        FailureBudget(BudgetPolicy(window=WINDOW)),
        HOLD_S,
        ScriptedTrials(good),
        clock=SystemClock(),
        meter=meter or MemoryMeter(STREAM_METRICS),
    )


def broker_with(*keys: str) -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    for key in keys:
        send(broker, key)
    return broker


def test_a_worker_halts_and_commits_nothing_of_the_window() -> None:
    broker = broker_with(*(f"bad-{number}" for number in range(2 * WINDOW)))
    with running(broker, gate=gate_of(good=False)) as worker:
        eventually(lambda: worker.failure is not None)
    assert isinstance(worker.failure, Halt)
    assert worker.failure.code == "budget.spent"
    assert committed(broker) == 0
    assert visible(broker, OutputTopic.DEAD_LETTERS) == []


def test_a_worker_goes_on_where_the_input_is_to_blame() -> None:
    broker = broker_with(*(f"bad-{number}" for number in range(2 * WINDOW)))
    with running(broker, gate=gate_of(good=True)):
        eventually(lambda: committed(broker) == 2 * WINDOW)
    assert len(visible(broker, OutputTopic.DEAD_LETTERS)) == 2 * WINDOW


def test_a_worker_that_stops_holds_nothing_back() -> None:
    broker, meter = broker_with("bad-0"), MemoryMeter(STREAM_METRICS)
    with running(broker, gate=gate_of(good=False, meter=meter)):
        share = partial(meter.value, BUDGET_SPENT)
        eventually(lambda: share() == 1)
        assert committed(broker) == 0
    assert committed(broker) == 1


# -- with the commits themselves --------------------------------------------------------------


def test_a_worker_that_is_started_again_and_again_does_not_drain_a_slow_stream() -> None:
    """A failure each second, and a budget that is held back for less than its window takes."""

    def fail_slowly(worker: Worker) -> None:
        for _ in range(2 * WINDOW):
            worker.finish(1, "fetch.failed")
            worker.cycle(4)

    broker: MemoryBroker | None = None
    for _ in range(5):
        worker = Worker(broker=broker, gate=judged)
        broker = worker.broker
        with pytest.raises(Halt) as halt:
            fail_slowly(worker)
        assert halt.value.code == "budget.spent"
        worker.stream.close(0.0)
    assert worker.broker.committed(GROUP, PARTITION) == 0
    assert worker.broker.published == []


def test_failures_do_not_pass_in_the_small_pieces_of_a_link_that_is_slow() -> None:
    worker = Worker(gate=judged)
    worker.cycle()
    worker.stream.most_bytes = 2 * BYTES
    worker.finish(2 * WINDOW)
    while worker.committer._bounds.outcomes >= WINDOW / 2:
        worker.cycle()
    worker.finish(2 * WINDOW, "fetch.failed")
    with pytest.raises(Halt):
        worker.cycle(60)
    assert {record.topic for record in worker.broker.published} <= {OutputTopic.CLASSIFICATIONS}
