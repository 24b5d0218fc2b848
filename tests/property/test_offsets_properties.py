"""The commit window against a model: whatever order records finish in, are revoked, or commits
fail in, what is committed is a contiguous prefix and every outcome is published exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.commit.settled import Classified
from pipeline.commit.window import Batch, CommitWindow
from pipeline.records import Epoch, Partition, Position
from tests.rigs.workers.outcomes import classified

PARTITIONS = (Partition("refs", 0), Partition("refs", 1))


@dataclass
class Broker:
    """What a real broker remembers: committed offsets and visible outcomes."""

    committed: dict[Partition, int] = field(default_factory=lambda: dict.fromkeys(PARTITIONS, 0))
    visible: list[tuple[Position, int]] = field(default_factory=list)

    def apply(self, batch: Batch) -> None:
        self.committed.update(batch.offsets)
        self.visible.extend(
            (settled.origin.position, settled.origin.index) for settled in batch.outcomes
        )


def settled(position: Position, index: int) -> Classified:
    return classified(position, f"{position}#{index}".encode(), index=index)


class Window(RuleBasedStateMachine):
    """Drives a window as a worker does, with gaps in the log and commits of unknown fate."""

    def __init__(self) -> None:
        super().__init__()
        self.window = CommitWindow()
        self.broker = Broker()
        # The log: offset -> references of the record; offsets not in it are gaps.
        self.log: dict[Partition, dict[int, int]] = {p: {} for p in PARTITIONS}
        self.end = dict.fromkeys(PARTITIONS, 0)
        self.position: dict[Partition, int] = {}
        self.epochs: dict[Partition, Epoch] = {}
        # References without an outcome: their epoch, and who they are.
        self.open: dict[tuple[Epoch, Position, int], None] = {}
        self.stale: list[tuple[Epoch, Position, int]] = []
        self.highest = dict.fromkeys(PARTITIONS, 0)
        # Committed in doubt, and known only from the offset that the partition came back with.
        self.unseen = 0

    @initialize()
    def start(self) -> None:
        for partition in PARTITIONS:
            self.assign(partition)

    @rule(partition=st.sampled_from(PARTITIONS), references=st.integers(0, 3))
    def produce(self, partition: Partition, references: int) -> None:
        self.log[partition][self.end[partition]] = references
        self.end[partition] += 1

    @rule(partition=st.sampled_from(PARTITIONS))
    def leave_a_gap(self, partition: Partition) -> None:
        self.end[partition] += 1

    @rule(partition=st.sampled_from(PARTITIONS), limit=st.integers(1, 4))
    def poll(self, partition: Partition, limit: int) -> None:
        if partition not in self.position:
            return
        for _ in range(limit):
            offset = self.position[partition]
            if offset >= self.end[partition]:
                break
            self.position[partition] += 1
            references = self.log[partition].get(offset)
            if references is None:
                continue
            position = Position(partition, offset)
            epoch = self.window.begin(position, now=0.0)
            assert epoch == self.epochs[partition]
            assert self.window.expand(position, epoch, references)
            for index in range(references):
                self.open[epoch, position, index] = None

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        epoch, position, index = data.draw(st.sampled_from(list(self.open)))
        del self.open[epoch, position, index]
        outcome = settled(position, index)
        assert self.window.settle(epoch, outcome)
        assert not self.window.settle(epoch, outcome)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def settle_late(self, data: st.DataObject) -> None:
        """Work of an epoch that is over changes nothing."""
        epoch, position, index = data.draw(st.sampled_from(self.stale))
        assert not self.window.settle(epoch, settled(position, index))

    @rule(
        fate=st.sampled_from(["acknowledged", "refused", "lost", "applied"]),
        most=st.integers(1, 5),
        most_bytes=st.integers(1, 40),
    )
    def commit(self, fate: str, most: int, most_bytes: int) -> None:
        self.window.advance(self.position)
        batch = self.window.take(most, most_bytes)
        if batch is None:
            return
        records = {settled.origin.position for settled in batch.outcomes}
        within = len(batch.outcomes) <= most and batch.size_bytes <= most_bytes
        assert within or len(records) == 1
        if fate in ("acknowledged", "applied"):
            self.broker.apply(batch)
        if fate == "acknowledged":
            self.window.confirm()
        elif fate == "refused":
            self.window.abandon()
        else:
            done, moved = self.window.reconcile(dict(self.broker.committed))
            assert not moved
            assert len(done) == (len(batch.outcomes) if fate == "applied" else 0)

    @rule(partition=st.sampled_from(PARTITIONS))
    def revoke_and_assign(self, partition: Partition) -> None:
        self.window.revoke(partition)
        for key in [key for key in self.open if key[1].partition == partition]:
            del self.open[key]
            self.stale.append(key)
        self.assign(partition)

    @rule(fate=st.sampled_from(["lost", "applied"]), partition=st.sampled_from(PARTITIONS))
    def commit_in_doubt_while_revoked(self, fate: str, partition: Partition) -> None:
        self.window.advance(self.position)
        batch = self.window.take(100, 10_000)
        if batch is None:
            return
        if fate == "applied":
            before = self.broker.committed[partition]
            self.broker.apply(batch)
            self.unseen += self.broker.committed[partition] - before
        self.revoke_and_assign(partition)
        self.window.reconcile(dict(self.broker.committed))

    def assign(self, partition: Partition) -> None:
        offset = self.broker.committed[partition]
        self.epochs[partition] = self.window.assign(partition, offset)
        self.position[partition] = offset

    @invariant()
    def everything_below_the_committed_offset_is_visible_exactly_once(self) -> None:
        expected = sorted(
            (Position(partition, offset), index)
            for partition in PARTITIONS
            for offset, references in self.log[partition].items()
            if offset < self.broker.committed[partition]
            for index in range(references)
        )
        assert sorted(self.broker.visible) == expected

    @invariant()
    def outcomes_of_a_partition_are_visible_in_input_order(self) -> None:
        for partition in PARTITIONS:
            mine = [each for each in self.broker.visible if each[0].partition == partition]
            assert mine == sorted(mine)

    @invariant()
    def offsets_never_go_back(self) -> None:
        for partition, offset in self.broker.committed.items():
            assert offset >= self.highest[partition]
            self.highest[partition] = offset

    @invariant()
    def what_is_held_is_counted(self) -> None:
        assert self.window.unsettled == len(self.open)
        assert self.window.settled_bytes >= self.window.settled

    @invariant()
    def what_commits_have_passed_is_counted_gaps_included(self) -> None:
        assert self.window.passed + self.unseen == sum(self.broker.committed.values())

    def teardown(self) -> None:
        """Progress: once everything is finished, everything can be committed."""
        for epoch, position, index in self.open:
            assert self.window.settle(epoch, settled(position, index))
        self.open.clear()
        self.window.advance(self.position)
        while (batch := self.window.take(10, 10_000)) is not None:
            self.broker.apply(batch)
            self.window.confirm()
        for partition, upto in self.position.items():
            assert self.broker.committed[partition] == upto
        assert self.window.idle
        assert (self.window.unsettled, self.window.settled, self.window.settled_bytes) == (0, 0, 0)
        self.everything_below_the_committed_offset_is_visible_exactly_once()


SIZES = st.lists(st.lists(st.integers(0, 30), max_size=3), max_size=6)
"""Records of one partition, each the sizes of its outcomes."""


@given(logs=st.tuples(SIZES, SIZES), most=st.integers(1, 5), most_bytes=st.integers(1, 60))
def test_a_batch_is_within_both_bounds_or_a_single_record(
    logs: tuple[list[list[int]], list[list[int]]], most: int, most_bytes: int
) -> None:
    window = CommitWindow()
    for partition, records in zip(PARTITIONS, logs, strict=True):
        epoch = window.assign(partition, 0)
        for offset, sizes in enumerate(records):
            position = Position(partition, offset)
            window.begin(position, now=0.0)
            window.expand(position, epoch, len(sizes))
            for index, size in enumerate(sizes):
                assert window.settle(epoch, classified(position, b"x" * size, index=index))
    taken = 0
    while (batch := window.take(most, most_bytes)) is not None:
        positions = {settled.origin.position for settled in batch.outcomes}
        within = len(batch.outcomes) <= most and batch.size_bytes <= most_bytes
        assert within or len(positions) == 1
        taken += len(batch.outcomes)
        window.confirm()
    assert taken == sum(len(sizes) for records in logs for sizes in records)


TestCommitWindow = Window.TestCase
TestCommitWindow.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
