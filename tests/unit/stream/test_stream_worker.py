"""The stream worker on the broker in memory: real references and events, a made-up flow."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from pipeline import metrics
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.stream import MemoryBroker, MemoryStream
from pipeline.errors import Halt, WorkerLost
from pipeline.flow import FlowPolicy
from pipeline.ports import Commit, Polled, Unreadable
from pipeline.records import OutputTopic, Partition
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import (
    TOPIC,
    WAIT_S,
    Running,
    committed,
    keys_of,
    new_broker,
    rules_of,
    running,
    send,
    visible,
)
from workers.stream.worker import POLL_S


@pytest.fixture
def broker() -> MemoryBroker:
    return new_broker()


def test_every_reference_of_a_record_has_one_outcome(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        send(broker, "a", "bad", "b")
        send(broker, "c", partition=1)
        eventually(lambda: committed(broker, 0) == 1 and committed(broker, 1) == 1)
        eventually(lambda: worker.worker.health().committed == 4)
        assert worker.worker.health().passed == 2
        assert worker.sample("clipstream_references_total", outcome="classified") == 3
        assert worker.sample("clipstream_dead_letters_total", code="decode.corrupt") == 1
    assert sorted(keys_of(visible(broker, OutputTopic.CLASSIFICATIONS))) == ["a", "b", "c"]
    assert len(visible(broker, OutputTopic.EMBEDDINGS)) == 3
    assert len(visible(broker, OutputTopic.DEAD_LETTERS)) == 1


def test_dead_letters_of_unsupported_formats_are_counted_by_format(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        send(broker, "document", "bad", "document")
        eventually(lambda: worker.worker.health().committed == 3)
        counted = "clipstream_unsupported_formats_total"
        assert worker.sample(counted, format="PDF") == 2
        assert worker.sample("clipstream_dead_letters_total", code="decode.corrupt") == 1


def test_dead_letters_of_other_codes_are_of_no_format(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        send(broker, "bad", "good")
        eventually(lambda: worker.worker.health().committed == 2)
        families = {each.name: each.samples for each in worker.meter.registry.collect()}
        assert families["clipstream_unsupported_formats"] == []


def test_nothing_behind_a_slow_image_of_its_partition_is_committed(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        send(broker, "first")
        send(broker, "slow")
        send(broker, "third")
        send(broker, "other", partition=1)
        eventually(lambda: committed(broker, 0) == 1 and committed(broker, 1) == 1)
        eventually(lambda: worker.worker.health().unfinished == 2)
        assert sorted(keys_of(visible(broker, OutputTopic.CLASSIFICATIONS))) == ["first", "other"]
        worker.open_gate()
        eventually(lambda: committed(broker, 0) == 3)
    mine = [k for k in keys_of(visible(broker, OutputTopic.CLASSIFICATIONS)) if k != "other"]
    assert mine == ["first", "slow", "third"]


@pytest.mark.parametrize("fault", ["lost", "applied"])
def test_a_commit_of_unknown_fate_is_neither_lost_nor_repeated(
    broker: MemoryBroker, fault: str
) -> None:
    broker.commit_faults.append(fault)  # type: ignore[arg-type]
    with running(broker) as worker:
        send(broker, "a", "b")
        send(broker, "c")
        eventually(lambda: committed(broker) == 2)
        eventually(lambda: worker.worker.health().committed == 3)
    assert keys_of(visible(broker, OutputTopic.CLASSIFICATIONS)) == ["a", "b", "c"]


def test_a_reference_is_scored_by_the_label_sets_it_was_routed_to(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        send(broker, "slow")
        eventually(lambda: worker.flow.running == {"slow"})
        # Its label set is gone when it is scored, and was there when it was admitted.
        worker.rules = rules_of("v2", "others")
        send(broker, "next", partition=1)
        eventually(lambda: committed(broker, 1) == 1)
        worker.open_gate()
        eventually(lambda: committed(broker, 0) == 1)
    events = [json.loads(each.value) for each in visible(broker, OutputTopic.CLASSIFICATIONS)]
    scored = {
        event["reference"]["key"]: [
            (result["label_set"], result["version"]) for result in event["results"]
        ]
        for event in events
    }
    assert scored == {"slow": [("things", "v1")], "next": [("others", "v2")]}


def test_an_unreadable_record_is_dead_lettered_with_its_bytes(broker: MemoryBroker) -> None:
    broker.produce(Partition(TOPIC, 0), b"\xff not json")
    with running(broker):
        eventually(lambda: committed(broker) == 1)
    (letter,) = visible(broker, OutputTopic.DEAD_LETTERS)
    assert letter.value == b"\xff not json"


def test_a_tombstone_is_a_counted_skip(broker: MemoryBroker) -> None:
    broker.produce(Partition(TOPIC, 0), None, key=b"k")
    with running(broker) as worker:
        eventually(lambda: committed(broker) == 1)
        eventually(lambda: worker.sample("clipstream_skipped_total", reason="tombstone") == 1)
    assert broker.published == []


def test_an_outcome_that_does_not_fit_becomes_a_dead_letter_and_its_neighbours_go_again() -> None:
    broker = MemoryBroker(max_message_bytes=3_000)
    broker.create_topic(TOPIC, 1)
    metadata = {"note": "x" * 1_500}
    references = [
        {"bucket": "bucket", "key": "a"},
        {"bucket": "bucket", "key": "b" * 1_000, "metadata": metadata},
        {"bucket": "bucket", "key": "c"},
    ]
    broker.produce(Partition(TOPIC, 0), json.dumps(references).encode())
    with running(broker):
        eventually(lambda: committed(broker) == 1)
    assert keys_of(visible(broker, OutputTopic.CLASSIFICATIONS)) == ["a", "c"]
    (letter,) = visible(broker, OutputTopic.DEAD_LETTERS)
    headers = dict(letter.headers)
    assert headers["dlq.code"] == b"publish.too_large"
    assert headers["dlq.unclassified-action"] == b"quarantine"


def test_a_revoked_partition_is_abandoned_and_its_new_owner_starts_over(
    broker: MemoryBroker,
) -> None:
    with running(broker, "0") as first:
        send(broker, "slow", partition=0)
        send(broker, "slow", partition=1)
        eventually(lambda: first.worker.health().unfinished == 2)
        with running(broker, "1") as second:
            eventually(lambda: second.worker.health().partitions == 1)
            eventually(lambda: first.worker.health().unfinished == 1)
            first.open_gate()
            second.open_gate()
            eventually(lambda: committed(broker, 0) == 1 and committed(broker, 1) == 1)
    assert len(visible(broker, OutputTopic.CLASSIFICATIONS)) == 2


def test_in_flight_work_is_bounded_and_polling_goes_on(broker: MemoryBroker) -> None:
    for number in range(20):
        send(broker, "slow", "slow", partition=number % 2)
    with running(broker, policy=FlowPolicy(max_in_flight=6)) as worker:
        eventually(lambda: worker.worker.health().unfinished == 6)
        eventually(lambda: worker.stream._paused == {Partition(TOPIC, 0), Partition(TOPIC, 1)})
        assert len(worker.flow.running) <= 6
        eventually(lambda: worker.sample("clipstream_in_flight_references") == 6)
        assert worker.worker.health().cycle_age_s < WAIT_S
        worker.open_gate()
        eventually(lambda: committed(broker, 0) == committed(broker, 1) == 10)


def test_intake_pauses_during_an_outage_and_resumes_after_it(broker: MemoryBroker) -> None:
    with running(broker) as worker:
        eventually(lambda: worker.worker.health().partitions == 2)
        worker.supply.available = False
        eventually(lambda: len(worker.stream._paused) == 2)
        send(broker, "a")
        worker.supply.available = True
        eventually(lambda: committed(broker) == 1)


def test_stop_finishes_what_is_begun_and_leaves_the_rest(broker: MemoryBroker) -> None:
    worker = Running(broker, "0", FlowPolicy(max_in_flight=1))
    send(broker, "slow")
    send(broker, "later")
    eventually(lambda: worker.worker.health().unfinished == 1)
    worker.worker.stop(WAIT_S)
    worker.open_gate()
    worker.stop()
    assert worker.failure is None
    assert committed(broker) == 1
    assert keys_of(visible(broker, OutputTopic.CLASSIFICATIONS)) == ["slow"]


def test_stop_does_not_wait_for_what_is_settled_behind_a_record_that_is_not_begun(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = MemoryStream.poll

    def last_unreadable(stream: MemoryStream, max_records: int, timeout_s: float) -> Polled:
        polled = poll(stream, max_records, timeout_s)
        if len(polled.records) < 3:
            return polled
        *before, last = polled.records
        lost = Unreadable(last.position, "bad crc", 4)
        return Polled(polled.changes, tuple(before), (lost,))

    monkeypatch.setattr(MemoryStream, "poll", last_unreadable)
    send(broker, "slow-1", "slow-2", "slow-3")
    send(broker, "waits for room")
    send(broker, "unreadable")
    with running(broker, policy=FlowPolicy(max_in_flight=3), order="partition") as worker:
        eventually(lambda: worker.worker.health().unfinished == 4)
        worker.worker.stop(grace_s=10 * WAIT_S)
        worker.open_gate()
        worker.thread.join(WAIT_S)
        assert not worker.thread.is_alive()
    assert committed(broker) == 1


def test_a_worker_that_stops_while_no_broker_answers_does_not_spin(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(broker) as worker:
        send(broker, "slow")
        eventually(lambda: worker.flow.running == {"slow"})
        worker.stream.down = True
        eventually(lambda: worker.worker._polling.failing)
        worker.worker.stop(WAIT_S)
        commit = worker.worker._commit
        cycled_at: list[float] = []

        def timed() -> None:
            cycled_at.append(time.monotonic())
            commit()

        monkeypatch.setattr(worker.worker, "_commit", timed)
        eventually(lambda: len(cycled_at) >= 20)
        # All but those in which a poll was due, ever fewer, have waited.
        assert cycled_at[19] - cycled_at[0] >= 10 * POLL_S
        worker.stream.down = False


def test_stop_abandons_what_outlasts_its_grace(broker: MemoryBroker) -> None:
    worker = Running(broker, "0", FlowPolicy())
    send(broker, "slow")
    eventually(lambda: worker.worker.health().unfinished == 1)
    worker.stop(grace_s=0.05)
    assert committed(broker) == 0
    assert broker.published == []


def test_a_halt_stops_the_worker_without_a_further_commit(broker: MemoryBroker) -> None:
    worker = Running(broker, "0", FlowPolicy())
    send(broker, "halt")
    worker.thread.join(WAIT_S)
    worker.loop.close()
    assert isinstance(worker.failure, Halt)
    assert worker.failure.code == "model.broken"
    assert committed(broker) == 0


@pytest.mark.parametrize(("key", "failure"), [("exhausted", MemoryError), ("lost", WorkerLost)])
def test_a_worker_that_cannot_go_on_crashes_and_is_not_halted(
    broker: MemoryBroker, key: str, failure: type[Exception]
) -> None:
    worker = Running(broker, "0", FlowPolicy())
    send(broker, key)
    worker.thread.join(WAIT_S)
    worker.loop.close()
    assert isinstance(worker.failure, failure)
    assert committed(broker) == 0
    assert broker.published == []


def test_a_wall_clock_that_jumps_by_an_hour_changes_nothing(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle([0.0, 3600.0, -3600.0])
    monkeypatch.setattr(SystemClock, "time", lambda _: time.time() + next(jumps))
    with running(broker) as worker:
        for number in range(30):
            broker.produce(
                Partition(TOPIC, number % 2),
                b'{"bucket": "bucket", "key": "a"}',
                timestamp_ms=round(time.time() * 1000),
            )
        eventually(lambda: committed(broker, 0) == committed(broker, 1) == 15)
        eventually(lambda: worker.worker.health().committed == 30)
        health = worker.worker.health()
        assert 0 <= health.cycle_age_s < WAIT_S
        assert 0 <= health.idle_s < WAIT_S
        latency = metrics.LATENCY_SECONDS.name
        assert worker.sample(f"{latency}_count") == 30
        assert 0 <= worker.sample(f"{latency}_sum") < 30 * (3600 + WAIT_S)
    assert len(visible(broker, OutputTopic.CLASSIFICATIONS)) == 30


def test_a_record_that_cannot_be_fetched_is_a_dead_letter_and_its_neighbours_are_classified(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = MemoryStream.poll

    def damaged(stream: MemoryStream, max_records: int, timeout_s: float) -> Polled:
        polled = poll(stream, max_records, timeout_s)
        at = [record.value for record in polled.records].index(b"damaged") if lost(polled) else None
        if at is None:
            return polled
        position = polled.records[at].position
        # Whoever reads on seeks behind it: what follows comes with the next poll.
        stream.seek(Partition(TOPIC, 0), position.offset + 1)
        return Polled(polled.changes, polled.records[:at], (Unreadable(position, "bad crc", 4),))

    def lost(polled: Polled) -> bool:
        return any(record.value == b"damaged" for record in polled.records)

    monkeypatch.setattr(MemoryStream, "poll", damaged)
    with running(broker) as worker:
        send(broker, "before")
        broker.produce(Partition(TOPIC, 0), b"damaged")
        send(broker, "after")
        eventually(lambda: committed(broker) == 3)
        eventually(lambda: worker.worker.health().committed == 3)
        assert worker.sample("clipstream_dead_letters_total", code="record.corrupt") == 1
    assert sorted(keys_of(visible(broker, OutputTopic.CLASSIFICATIONS))) == ["after", "before"]
    (letter,) = visible(broker, OutputTopic.DEAD_LETTERS)
    headers = dict(letter.headers)
    assert (headers["dlq.code"], headers["dlq.offset"]) == (b"record.corrupt", b"1")
    assert headers["dlq.attempts"] == b"4"


def test_a_slow_sink_holds_intake_at_its_bound(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = MemoryStream.commit

    def slowly(stream: MemoryStream, wanted: Commit) -> None:
        time.sleep(0.03)
        commit(stream, wanted)

    monkeypatch.setattr(MemoryStream, "commit", slowly)
    for number in range(60):
        send(broker, f"key-{number:02}")
    held: list[int] = []
    with running(broker, policy=FlowPolicy(max_in_flight=5)) as worker:

        def done() -> bool:
            held.append(worker.worker.health().unfinished)
            return committed(broker) == 60

        eventually(done)
    assert 0 < max(held) <= 5
    found = keys_of(visible(broker, OutputTopic.CLASSIFICATIONS))
    assert found == [f"key-{number:02}" for number in range(60)]


def test_outcomes_that_wait_for_their_commit_are_bounded_in_bytes(broker: MemoryBroker) -> None:
    """One slow image holds its partition's commits; dead letters behind it hold their records."""
    send(broker, "slow")
    for _ in range(40):
        broker.produce(Partition(TOPIC, 0), b"x" * 100_000)
    with running(broker, policy=FlowPolicy(max_pending_mib=1), order="partition") as worker:
        eventually(lambda: len(worker.stream._paused) == 2)
        time.sleep(0.1)
        assert 2 <= worker.worker.health().unfinished <= 12
        worker.open_gate()
        eventually(lambda: committed(broker) == 41)
    assert len(visible(broker, OutputTopic.DEAD_LETTERS)) == 40


def test_a_bad_record_of_100_000_headers_is_a_dead_letter_that_fits(broker: MemoryBroker) -> None:
    headers = tuple((f"x-{number}", b"\xff\x00" * 5) for number in range(100_000))
    broker.produce(Partition(TOPIC, 0), b"no json", headers=headers)
    with running(broker):
        send(broker, "after")
        eventually(lambda: committed(broker) == 2)
    (letter,) = visible(broker, OutputTopic.DEAD_LETTERS)
    assert letter.size_bytes <= broker.max_message_bytes
    found = dict(letter.headers)
    assert (found["dlq.code"], found["dlq.payload"]) == (b"reference.not_json", b"omitted")
    assert keys_of(visible(broker, OutputTopic.CLASSIFICATIONS)) == ["after"]
