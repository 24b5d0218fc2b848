"""What every stream promises, the one in memory and the one over a real Kafka alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest
from kafka.errors import KafkaError

from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.adapters.memory.stream import CommitFault, MemoryBroker, MemoryStream
from pipeline.errors import CommitDoubtful, OutcomeTooLarge
from pipeline.ports import Assigned, Commit, Revoked, Stream
from pipeline.records import OutputRecord, OutputTopic, Partition, Record
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import POLL_S, Deployment, outcome, recovered
from tests.rigs.waiting import eventually

TOPIC = "references"
PARTITIONS = 2


class World(Protocol):
    """One broker, one group, the streams of its members."""

    partitions: tuple[Partition, ...]
    too_large: OutputRecord

    def stream(self, slot: int = 0) -> Stream: ...

    def produce(self, partition: Partition, *values: bytes | None) -> None: ...

    def visible(self) -> set[tuple[OutputTopic, bytes | None, bytes]]: ...

    def committed(self, partition: Partition) -> int | None: ...

    def fail_next_commit(self, stream: Stream, fault: CommitFault) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self._broker = MemoryBroker(max_message_bytes=1000)
        self._broker.create_topic(TOPIC, PARTITIONS)
        self.partitions = tuple(Partition(TOPIC, number) for number in range(PARTITIONS))
        self.too_large = outcome(b"x" * 1001)

    def stream(self, slot: int = 0) -> Stream:
        return MemoryStream(self._broker, "group", (TOPIC,), f"host-{slot}")

    def produce(self, partition: Partition, *values: bytes | None) -> None:
        for value in values:
            self._broker.produce(partition, value, key=b"key")

    def visible(self) -> set[tuple[OutputTopic, bytes | None, bytes]]:
        published = self._broker.published
        seen = {(record.topic, record.key, record.value) for record in published}
        assert len(seen) == len(published)
        return seen

    def committed(self, partition: Partition) -> int | None:
        return self._broker.committed("group", partition)

    def fail_next_commit(self, stream: Stream, fault: CommitFault) -> None:
        self._broker.commit_faults.append(fault)


class KafkaWorld:
    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.partitions = tuple(map(deployment.partition, range(PARTITIONS)))
        self.too_large = outcome(b"x" * deployment.kafka.max_request_bytes)

    def stream(self, slot: int = 0) -> Stream:
        return self._deployment.stream(slot)

    def produce(self, partition: Partition, *values: bytes | None) -> None:
        self._deployment.produce(values, partition.number)

    def visible(self) -> set[tuple[OutputTopic, bytes | None, bytes]]:
        published = [
            (role, key, value or b"")
            for role in OutputTopic
            for _, _, key, value in self._deployment.visible(role)
        ]
        assert len(set(published)) == len(published)
        return set(published)

    def committed(self, partition: Partition) -> int | None:
        return self._deployment.committed(partition.number)

    def fail_next_commit(self, stream: Stream, fault: CommitFault) -> None:
        assert isinstance(stream, KafkaStream)
        producer = stream._sink._producer
        assert producer is not None
        commit_transaction = producer.commit_transaction

        def fail() -> None:
            if fault == "applied":
                commit_transaction()
            raise KafkaError("no answer")

        producer.commit_transaction = fail


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.component)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    bootstrap: str = request.getfixturevalue("kafka_bootstrap")
    with Deployment(bootstrap, PARTITIONS) as deployment:
        yield KafkaWorld(deployment)


class Member:
    """Polls a stream and follows it as the worker does."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.progress: dict[Partition, Progress] = {}
        self.records: list[Record] = []

    def poll(self, max_records: int = 100) -> None:
        polled = self.stream.poll(max_records, POLL_S)
        for change in polled.changes:
            if isinstance(change, Revoked):
                del self.progress[change.partition]
            else:
                assert isinstance(change, Assigned)
                assert change.partition not in self.progress
                self.progress[change.partition] = change.progress
        for record in polled.records:
            partition = record.position.partition
            assert record.position.offset >= self.starts[partition]
        assert len(polled.records) <= max_records
        self.records += polled.records

    def recover(self) -> Mapping[Partition, Progress | None]:
        return recovered(self.stream, self.poll)

    @property
    def starts(self) -> dict[Partition, int]:
        return {partition: progress.offset for partition, progress in self.progress.items()}

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def await_partitions(self, wanted: set[Partition]) -> None:
        def has() -> bool:
            self.poll()
            return self.starts.keys() == wanted

        eventually(has)

    def await_records(self, count: int, max_records: int = 100) -> None:
        def has() -> bool:
            self.poll(max_records)
            return len(self.records) >= count

        eventually(has)
        assert len(self.records) == count


@pytest.fixture
def member(world: World) -> Member:
    """A member that owns every partition and can commit."""
    joined = Member(world.stream())
    joined.await_partitions(set(world.partitions))
    joined.stream.recover()
    return joined


def commit(offsets: Mapping[Partition, int], *values: bytes) -> Commit:
    progress = {partition: Progress(offset) for partition, offset in offsets.items()}
    return Commit(progress, tuple(outcome(value) for value in values))


def in_classifications(*values: bytes) -> set[tuple[OutputTopic, bytes | None, bytes]]:
    return {(OutputTopic.CLASSIFICATIONS, b"k", value) for value in values}


def test_a_group_of_one_owns_every_partition_from_its_committed_offset(member: Member) -> None:
    assert set(member.starts.values()) == {0}
    assert member.stream.positions() == member.starts


def test_records_come_in_order_and_no_more_than_asked_for(world: World, member: Member) -> None:
    first, second = world.partitions
    world.produce(first, b"0", b"1", b"2")
    world.produce(second, b"3", None)
    member.await_records(5, max_records=2)
    of_first = [r for r in member.records if r.position.partition == first]
    of_second = [r for r in member.records if r.position.partition == second]
    assert [record.value for record in of_first] == [b"0", b"1", b"2"]
    assert [record.value for record in of_second] == [b"3", None]
    assert [record.position.offset for record in of_first] == [0, 1, 2]
    assert {record.key for record in member.records} == {b"key"}
    assert member.stream.positions() == {first: 3, second: 2}
    assert member.stream.ends() == {first: 3, second: 2}


def test_nothing_new_is_an_empty_poll(member: Member) -> None:
    polled = member.stream.poll(10, 0.01)
    assert (polled.changes, polled.records, polled.unreadable) == ((), (), ())


def test_a_paused_partition_brings_nothing_until_it_is_resumed(
    world: World, member: Member
) -> None:
    first, second = world.partitions
    member.stream.pause([first])
    world.produce(first, b"held back")
    world.produce(second, b"flows")
    member.await_records(1)
    member.poll()
    assert member.values == [b"flows"]
    member.stream.resume([first])
    member.await_records(2)
    assert member.values == [b"flows", b"held back"]


def test_the_end_of_a_paused_partition_goes_on_being_heard(world: World, member: Member) -> None:
    first, second = world.partitions
    member.stream.pause(world.partitions)

    def ends_at(expected: Mapping[Partition, int]) -> bool:
        member.poll()
        return member.stream.ends() == expected

    world.produce(first, b"0", b"1")
    eventually(lambda: ends_at({first: 2, second: 0}))
    world.produce(second, b"2")
    eventually(lambda: ends_at({first: 2, second: 1}))
    assert member.records == []


def test_records_are_polled_again_from_where_the_stream_is_sought_to(
    world: World, member: Member
) -> None:
    first = world.partitions[0]
    world.produce(first, b"0", b"1", b"2")
    member.await_records(3)
    member.stream.seek(first, 1)
    assert member.stream.positions()[first] == 1
    member.await_records(5)
    assert member.values == [b"0", b"1", b"2", b"1", b"2"]


def test_partitions_that_are_not_owned_are_passed_over(world: World) -> None:
    stranger = Member(world.stream())
    partition = world.partitions[0]
    stranger.stream.pause([partition])
    stranger.stream.resume([partition])
    stranger.stream.seek(partition, 5)
    assert stranger.stream.positions() == {}
    assert stranger.stream.ends() == {}
    stranger.await_partitions(set(world.partitions))
    assert stranger.starts[partition] == 0


def test_a_stream_cannot_commit_before_it_has_recovered(world: World) -> None:
    fresh = Member(world.stream())
    fresh.await_partitions(set(world.partitions))
    assert not fresh.stream.can_commit
    with pytest.raises(CommitDoubtful):
        fresh.stream.commit(commit({world.partitions[0]: 1}, b"early"))
    assert fresh.stream.recover() == dict.fromkeys(world.partitions, Progress(0))
    assert world.visible() == set()
    fresh.stream.commit(commit({world.partitions[0]: 1}, b"in time"))
    assert world.visible() == in_classifications(b"in time")


def test_a_commit_publishes_its_records_and_moves_its_offsets(world: World, member: Member) -> None:
    first, second = world.partitions
    records = tuple(outcome(role.encode(), b"k", role) for role in OutputTopic)
    member.stream.commit(Commit({first: Progress(3)}, records))
    assert world.visible() == {(role, b"k", role.encode()) for role in OutputTopic}
    assert (world.committed(first), world.committed(second)) == (3, 0)
    member.stream.commit(Commit({second: Progress(2)}, ()))
    assert (world.committed(first), world.committed(second)) == (3, 2)
    assert member.recover() == {first: Progress(3), second: Progress(2)}


def test_a_commit_that_was_lost_can_be_sent_again(world: World, member: Member) -> None:
    first, second = world.partitions
    world.fail_next_commit(member.stream, "lost")
    with pytest.raises(CommitDoubtful):
        member.stream.commit(commit({first: 3}, b"outcome"))
    assert not member.stream.can_commit
    assert member.recover() == {first: Progress(0), second: Progress(0)}
    assert world.visible() == set()
    member.stream.commit(commit({first: 3}, b"outcome"))
    assert world.visible() == in_classifications(b"outcome")
    assert world.committed(first) == 3


def test_a_commit_that_was_applied_unheard_is_found_applied(world: World, member: Member) -> None:
    first, second = world.partitions
    world.fail_next_commit(member.stream, "applied")
    with pytest.raises(CommitDoubtful):
        member.stream.commit(commit({first: 3}, b"outcome"))
    assert not member.stream.can_commit
    assert member.recover() == {first: Progress(3), second: Progress(0)}
    assert world.visible() == in_classifications(b"outcome")


def test_an_outcome_too_large_is_named_and_nothing_of_its_commit_is_seen(
    world: World, member: Member
) -> None:
    first = world.partitions[0]
    records = (outcome(b"before"), world.too_large, outcome(b"after"))
    with pytest.raises(OutcomeTooLarge) as raised:
        member.stream.commit(Commit({first: Progress(3)}, records))
    assert raised.value.index == 1
    member.recover()
    assert world.visible() == set()
    assert world.committed(first) == 0
    member.stream.commit(Commit({first: Progress(3)}, (records[0], records[2])))
    assert world.visible() == in_classifications(b"before", b"after")
    assert world.committed(first) == 3


def test_members_share_the_partitions_and_nobody_commits_what_moved(world: World) -> None:
    first = Member(world.stream(0))
    first.await_partitions(set(world.partitions))
    first.stream.recover()
    first.stream.commit(commit(dict.fromkeys(world.partitions, 0), b"all mine"))
    second = Member(world.stream(1))

    def shared() -> bool:
        for each in (first, second):
            each.poll()
        return len(first.starts) == len(second.starts) == 1

    eventually(shared)
    assert first.starts.keys() | second.starts.keys() == set(world.partitions)
    (moved,) = second.starts
    assert first.stream.positions().keys() == first.starts.keys()
    with pytest.raises(CommitDoubtful):
        first.stream.commit(commit({moved: 1}, b"not mine"))
    assert not first.stream.can_commit
    assert moved not in first.recover()
    second.stream.recover()
    second.stream.commit(commit({moved: 1}, b"mine"))
    assert world.visible() == in_classifications(b"all mine", b"mine")
    assert world.committed(moved) == 1


def test_a_member_that_comes_back_goes_on_at_its_committed_offset(
    world: World, member: Member
) -> None:
    first, second = world.partitions
    world.produce(first, b"0", b"1", b"2")
    member.await_records(3)
    member.stream.commit(commit({first: 2}, b"a", b"b"))
    member.stream.close(1.0)
    again = Member(world.stream())
    again.await_partitions({first, second})
    assert again.starts == {first: 2, second: 0}
    again.await_records(1)
    assert again.values == [b"2"]


def test_a_member_that_comes_back_knows_what_is_done_beyond_its_offset(
    world: World, member: Member
) -> None:
    first, second = world.partitions
    world.produce(first, *(b"%d" % number for number in range(6)))
    member.await_records(6)
    ahead = Progress(1, (range(2, 3), range(4, 6)))
    member.stream.commit(Commit({first: ahead}, (outcome(b"0"), outcome(b"2"))))
    assert member.recover() == {first: ahead, second: Progress(0)}
    member.stream.close(1.0)
    again = Member(world.stream())
    again.await_partitions({first, second})
    assert again.progress == {first: ahead, second: Progress(0)}
    again.await_records(5)
    again.stream.recover()
    again.stream.commit(Commit({first: Progress(6)}, ()))
    assert again.recover() == {first: Progress(6), second: Progress(0)}


def test_a_later_stream_of_the_same_member_fences_the_earlier(world: World, member: Member) -> None:
    later = world.stream()
    later.recover()
    with pytest.raises(CommitDoubtful):
        member.stream.commit(commit({world.partitions[0]: 1}, b"zombie"))
    assert world.visible() == set()
    assert world.committed(world.partitions[0]) == 0


def test_recovering_without_need_changes_nothing(world: World, member: Member) -> None:
    first = world.partitions[0]
    member.stream.commit(commit({first: 1}, b"once"))
    assert member.recover() == member.recover()
    assert world.visible() == in_classifications(b"once")
    member.stream.commit(commit({first: 2}, b"twice"))
    assert world.committed(first) == 2
