"""What each level may begin, and that lower ones take only what higher ones leave."""

from __future__ import annotations

import pytest

from pipeline.adapters.memory.stream import MemoryBroker
from pipeline.commit.settled import PassedOver
from pipeline.commit.window import CommitWindow
from pipeline.flow import FlowPolicy
from pipeline.priority import PriorityPolicy
from pipeline.records import Epoch, Origin, Partition, Position, Record
from pipeline.records.progress import Progress
from tests.rigs.waiting import eventually
from tests.rigs.workers.outcomes import classified
from tests.rigs.workers.plenty import Plenty
from tests.rigs.workers.stream_worker import GROUP, TOPIC, committed, running, send
from workers.stream.intake import MIB, Intake

LIVE, BACKFILL = Partition("live", 0), Partition("backfill", 0)
MOST = 100
KEPT = 5


OTHER = Partition("live", 1)


class Bench:
    """An intake over a window that owns some partitions."""

    def __init__(
        self,
        *lower: str,
        min_share: float = 0.05,
        partitions: tuple[Partition, ...] = (LIVE, BACKFILL),
    ) -> None:
        self.window = CommitWindow("key")
        self.epochs = {each: self.window.assign(each, Progress(0)) for each in partitions}
        self.offsets = dict.fromkeys(self.epochs, 0)
        flow = FlowPolicy(max_in_flight=MOST, max_pending_mib=1)
        priority = PriorityPolicy(lower=lower, min_share=min_share)
        self.supply = Plenty()
        self.intake = Intake(self.window, flow, priority, self.supply)

    def poll(self, partition: Partition, count: int) -> None:
        for _ in range(count):
            position = Position(partition, self.offsets[partition])
            self.offsets[partition] += 1
            epoch = self.window.begin(position, 0.0)
            assert epoch is not None
            self.intake.add(Record(position, 0, None, b"", ()), epoch)

    def admit(self) -> list[str]:
        """Topics of what is begun, one reference a record."""
        return [self.begin(record, epoch) for record, epoch in self.intake.ready()]

    def begin(self, record: Record, epoch: Epoch) -> str:
        self.window.expand(record.position, epoch, 1)
        return record.position.partition.topic

    def full(self) -> set[Partition]:
        return set(self.intake.full(self.window.partitions))

    def hold(self, partition: Partition, count: int) -> None:
        self.poll(partition, count)
        assert len(self.admit()) == count


def test_without_priorities_all_share_the_room() -> None:
    bench = Bench()
    bench.poll(BACKFILL, 70)
    bench.poll(LIVE, 50)
    assert len(bench.admit()) == MOST
    assert bench.full() == {LIVE, BACKFILL}


def test_a_lower_topic_leaves_half_the_room_free() -> None:
    bench = Bench("backfill")
    bench.poll(BACKFILL, MOST)
    assert bench.admit() == ["backfill"] * (MOST // 2)
    assert bench.full() == {BACKFILL}
    assert bench.intake.room(0) == MOST // 2
    bench.poll(LIVE, 10)
    assert bench.admit() == ["live"] * 10


def test_what_waits_of_a_higher_topic_goes_first() -> None:
    bench = Bench("backfill")
    bench.poll(BACKFILL, 10)
    bench.poll(LIVE, 10)
    assert bench.admit() == ["live"] * 10 + ["backfill"] * 10


def test_a_busy_higher_topic_leaves_a_lower_one_its_share_only() -> None:
    bench = Bench("backfill")
    bench.poll(LIVE, 2 * MOST)
    bench.poll(BACKFILL, MOST)
    begun = bench.admit()
    assert begun.count("backfill") == KEPT
    assert begun.count("live") == MOST - KEPT


def test_a_partition_alone_has_all_the_room() -> None:
    bench = Bench(partitions=(LIVE,))
    bench.poll(LIVE, MOST + 1)
    assert len(bench.admit()) == MOST
    assert bench.full() == {LIVE}


@pytest.mark.parametrize("others", [1, 9])
def test_partitions_that_hold_their_outcomes_leave_each_other_one_its_share(others: int) -> None:
    slow = tuple(Partition("slow", number) for number in range(others))
    bench = Bench(partitions=(*slow, LIVE))
    for partition in slow:
        bench.poll(partition, MOST)
    share = MOST // (2 * (others + 1))
    assert len(bench.admit()) >= MOST // 2
    assert bench.full() == set(slow)
    bench.poll(LIVE, share)
    assert bench.admit() == ["live"] * share


def test_a_partition_over_its_share_waits_alone_and_in_its_order() -> None:
    bench = Bench(partitions=(LIVE, OTHER))
    bench.poll(LIVE, MOST)
    bench.poll(OTHER, 3)
    begun = [
        record.position for record, epoch in bench.intake.ready() if bench.begin(record, epoch)
    ]
    assert [each.offset for each in begun if each.partition == LIVE] == list(range(75))
    assert [each.offset for each in begun if each.partition == OTHER] == [0, 1, 2]
    assert bench.full() == {LIVE}
    bench.window.revoke(OTHER)
    begun = [
        record.position for record, epoch in bench.intake.ready() if bench.begin(record, epoch)
    ]
    assert [each.offset for each in begun] == list(range(75, MOST))


def test_when_too_much_is_retried_only_the_partitions_that_do_wait() -> None:
    bench = Bench(partitions=(LIVE, OTHER))
    bench.supply.sources_aside = frozenset({OTHER})
    bench.supply.room_aside = 2
    bench.poll(OTHER, 2)
    assert len(bench.admit()) == 2, "some failures are no reason to wait"
    bench.supply.room_aside = 0
    bench.poll(OTHER, 2)
    bench.poll(LIVE, 2)
    assert [record.position.partition for record, _ in bench.intake.ready()] == [LIVE, LIVE]
    assert bench.full() == {OTHER}
    bench.supply.room_aside = 1
    assert len(bench.admit()) == 1
    bench.supply.sources_aside = frozenset()
    assert len(bench.admit()) == 1


def test_a_share_of_nothing_is_nothing() -> None:
    bench = Bench("backfill", min_share=0.0)
    bench.poll(LIVE, 2 * MOST)
    bench.poll(BACKFILL, MOST)
    assert bench.admit() == ["live"] * MOST


def test_what_is_committed_makes_room() -> None:
    bench = Bench("backfill")
    bench.hold(BACKFILL, MOST // 2)
    skipped = PassedOver(Origin(Position(BACKFILL, 0), 0, 0), "empty")
    assert bench.window.settle(bench.epochs[BACKFILL], skipped)
    assert bench.intake.room(1) == 0
    assert bench.window.take(10, 1 << 20) is not None
    bench.window.confirm()
    assert bench.intake.room(1) == 1


def test_a_partition_that_is_taken_away_makes_room() -> None:
    bench = Bench("backfill")
    bench.hold(BACKFILL, MOST // 2)
    bench.poll(BACKFILL, 3)
    bench.intake.drop(BACKFILL)
    bench.window.revoke(BACKFILL)
    assert list(bench.intake.ready()) == []
    assert bench.intake.room(1) == MOST // 2


def test_outcomes_that_wait_for_their_commit_bound_every_level() -> None:
    bench = Bench("backfill")
    bench.hold(LIVE, 1)
    assert bench.window.settle(bench.epochs[LIVE], classified(Position(LIVE, 0), bytes(MIB)))
    assert bench.intake.most() == 0
    assert bench.full() == {LIVE, BACKFILL}


def test_the_lowest_of_many_has_its_turn_when_nobody_else_has_work() -> None:
    lower = [f"topic-{number}" for number in range(12)]
    bench = Bench(*lower, "backfill", min_share=0.0)
    bench.poll(BACKFILL, 3)
    assert bench.admit() == ["backfill"]


@pytest.fixture
def broker() -> MemoryBroker:
    """With a backfill that never ends: each of its images waits for the gate."""
    broker = MemoryBroker()
    for topic in (TOPIC, BACKFILL.topic):
        broker.create_topic(topic, 1)
    for number in range(40):
        send(broker, f"slow-{number}", topic=BACKFILL.topic)
    return broker


PRIORITY = PriorityPolicy(lower=(BACKFILL.topic,))


def test_live_references_overtake_a_backfill(broker: MemoryBroker) -> None:
    policy = FlowPolicy(max_in_flight=16)
    with running(broker, policy=policy, priority=PRIORITY) as worker:
        eventually(lambda: len(worker.flow.running) == 8)
        for number in range(20):
            send(broker, f"live-{number}")
        eventually(lambda: committed(broker) == 20)
        assert len(worker.flow.running) == 8, "none of the backfill has ended"
        worker.open_gate()
        eventually(lambda: broker.committed(GROUP, BACKFILL) == 40)


def test_the_source_of_an_image_is_its_partition(broker: MemoryBroker) -> None:
    with running(broker, priority=PRIORITY) as worker:
        send(broker, "live")
        eventually(lambda: worker.flow.asked_for == {(0, Partition(TOPIC, 0)), (1, BACKFILL)})


def test_the_lower_topic_is_paused_alone(broker: MemoryBroker) -> None:
    policy = FlowPolicy(max_in_flight=16)
    with running(broker, policy=policy, priority=PRIORITY) as worker:
        eventually(lambda: worker.stream._paused == {BACKFILL})
        worker.open_gate()
        eventually(lambda: worker.stream._paused == set())
