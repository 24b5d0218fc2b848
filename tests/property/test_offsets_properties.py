"""The commit window against a model: whatever order records finish in, are revoked, or commits
fail in, what the committed progress says is done is visible exactly once, and nothing else is."""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import get_args

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kafka import OffsetAndMetadata

from pipeline.adapters.kafka.offsets import OffsetNote, progress_of
from pipeline.commit.order import Entry, Order, choose
from pipeline.commit.settled import Classified
from pipeline.commit.window import Batch, CommitWindow
from pipeline.records import Epoch, Partition, Position
from pipeline.records.progress import MAX_RANGES, Progress
from tests.rigs.workers.outcomes import classified

METADATA_BYTES = 4096
"""A broker's default of ``offset.metadata.max.bytes``."""

PARTITIONS = (Partition("refs", 0), Partition("refs", 1))


@dataclass
class Broker:
    """What a real broker remembers: committed offsets with their notes, and visible outcomes."""

    notes: dict[Partition, tuple[int, str]] = field(
        default_factory=lambda: dict.fromkeys(PARTITIONS, (0, str(OffsetNote("id", 2))))
    )
    visible: list[tuple[Position, int]] = field(default_factory=list)

    @property
    def committed(self) -> dict[Partition, Progress]:
        return {
            partition: progress_of(OffsetAndMetadata(offset, note, -1))
            for partition, (offset, note) in self.notes.items()
        }

    def apply(self, batch: Batch) -> None:
        for partition, reached in batch.progress.items():
            note = str(OffsetNote("id", 2, reached.runs))
            assert len(note) < METADATA_BYTES
            self.notes[partition] = reached.offset, note
        self.visible.extend(
            (settled.origin.position, settled.origin.index) for settled in batch.outcomes
        )


def settled(position: Position, index: int) -> Classified:
    return classified(position, f"{position}#{index}".encode(), index=index)


class Window(RuleBasedStateMachine):
    """Drives a window as a worker does, with gaps in the log and commits of unknown fate."""

    order: Order = "partition"

    def __init__(self) -> None:
        super().__init__()
        self.window = CommitWindow(self.order)
        self.broker = Broker()
        # The log: offset -> references of the record; offsets not in it are gaps.
        self.log: dict[Partition, dict[int, int]] = {p: {} for p in PARTITIONS}
        self.end = dict.fromkeys(PARTITIONS, 0)
        self.position: dict[Partition, int] = {}
        self.epochs: dict[Partition, Epoch] = {}
        # References without an outcome: their epoch, and who they are.
        self.open: dict[tuple[Epoch, Position, int], None] = {}
        self.stale: list[tuple[Epoch, Position, int]] = []
        self.keys: dict[Position, bytes | None] = {}
        self.before = self.broker.committed
        # Committed in doubt, and known only from the offset that the partition came back with.
        self.unseen = 0

    @initialize()
    def start(self) -> None:
        for partition in PARTITIONS:
            self.assign(partition)

    @rule(
        partition=st.sampled_from(PARTITIONS),
        records=st.lists(
            st.tuples(st.sampled_from([None, b"a", b"b"]), st.sampled_from([1, 1, 0, 3])),
            min_size=1,
            max_size=6,
        ),
        polled=st.booleans(),
    )
    def produce(
        self, partition: Partition, records: list[tuple[bytes | None, int]], polled: bool
    ) -> None:
        for key, references in records:
            self.keys[Position(partition, self.end[partition])] = key
            self.log[partition][self.end[partition]] = references
            self.end[partition] += 1
        if polled:
            self.poll(partition, sys.maxsize)

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
            epoch = self.window.begin(position, 0.0, self.keys[position])
            if offset in self.broker.committed[partition]:
                assert epoch is None
                continue
            assert epoch == self.epochs[partition]
            assert self.window.expand(position, epoch, references)
            for index in range(references):
                self.open[epoch, position, index] = None

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        few = st.lists(st.sampled_from(list(self.open)), min_size=1, max_size=6, unique=True)
        for epoch, position, index in data.draw(few):
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
            self.unseen += self.broker.committed[partition].count - before.count
        self.revoke_and_assign(partition)
        self.window.reconcile(dict(self.broker.committed))

    def assign(self, partition: Partition) -> None:
        progress = self.broker.committed[partition]
        self.epochs[partition] = self.window.assign(partition, progress)
        self.position[partition] = progress.offset

    @invariant()
    def what_is_done_is_visible_exactly_once(self) -> None:
        expected = sorted(
            (Position(partition, offset), index)
            for partition, progress in self.broker.committed.items()
            for offset, references in self.log[partition].items()
            if offset in progress
            for index in range(references)
        )
        assert sorted(self.broker.visible) == expected

    @invariant()
    def outcomes_are_visible_in_their_order(self) -> None:
        in_line = defaultdict(list)
        for position, index in self.broker.visible:
            key = None if self.order == "partition" else self.keys[position]
            if key is not None or self.order == "partition":
                in_line[position.partition, key].append((position, index))
        if self.order != "none":
            assert all(line == sorted(line) for line in in_line.values())

    @invariant()
    def progress_never_goes_back(self) -> None:
        now = self.broker.committed
        for partition, before in self.before.items():
            assert now[partition].offset >= before.offset
            assert all(offset in now[partition] for each in before.ahead for offset in each)
            assert self.order != "partition" or not now[partition].ahead
        self.before = now

    @invariant()
    def nothing_done_stands_at_the_committed_offset(self) -> None:
        assert all(each.offset not in each for each in self.broker.committed.values())

    @invariant()
    def what_is_held_is_counted(self) -> None:
        topics = {partition.topic for partition in self.window.partitions}
        assert self.window.unfinished == sum(map(self.window.held_of, topics))
        assert self.window.unsettled == len(self.open)
        assert self.window.settled_bytes >= self.window.settled

    @invariant()
    def what_commits_have_passed_is_counted_gaps_included(self) -> None:
        assert self.window.passed + self.unseen == sum(
            progress.count for progress in self.broker.committed.values()
        )

    def teardown(self) -> None:
        """Progress: once everything is finished, everything can be committed."""
        for partition in PARTITIONS:
            self.poll(partition, sys.maxsize)
        for epoch, position, index in self.open:
            assert self.window.settle(epoch, settled(position, index))
        self.open.clear()
        self.window.advance(self.position)
        while (batch := self.window.take(10, 10_000)) is not None:
            self.broker.apply(batch)
            self.window.confirm()
        assert self.broker.committed == {each: Progress(self.end[each]) for each in PARTITIONS}
        assert self.window.idle
        assert (self.window.unsettled, self.window.settled, self.window.settled_bytes) == (0, 0, 0)
        self.what_is_done_is_visible_exactly_once()


SIZES = st.lists(st.lists(st.integers(0, 30), max_size=3), max_size=6)
"""Records of one partition, each the sizes of its outcomes."""


@given(logs=st.tuples(SIZES, SIZES), most=st.integers(1, 5), most_bytes=st.integers(1, 60))
def test_a_batch_is_within_both_bounds_or_a_single_record(
    logs: tuple[list[list[int]], list[list[int]]], most: int, most_bytes: int
) -> None:
    window = CommitWindow("partition")
    for partition, records in zip(PARTITIONS, logs, strict=True):
        epoch = window.assign(partition, Progress(0))
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


class WindowInOrderOfKeys(Window):
    order: Order = "key"


class WindowWithoutOrder(Window):
    order: Order = "none"


TestCommitWindow = Window.TestCase
TestCommitWindowInOrderOfKeys = WindowInOrderOfKeys.TestCase
TestCommitWindowWithoutOrder = WindowWithoutOrder.TestCase
TestCommitWindow.settings = settings(max_examples=60, stateful_step_count=40)
TestCommitWindowInOrderOfKeys.settings = TestCommitWindow.settings
TestCommitWindowWithoutOrder.settings = TestCommitWindow.settings


class Few:
    """Admits so many records."""

    def __init__(self, most: int) -> None:
        self.left = most

    def admits(self, entry: Entry) -> bool:
        self.left -= 1
        return self.left >= 0


def due(entries: dict[int, Entry], order: Order) -> set[int]:
    """The records that may be committed, as another algorithm finds them."""
    staying: list[Entry] = []
    chosen = set()
    for offset, entry in entries.items():
        rivals = [other for other in staying if order == "partition" or other.key == entry.key]
        if order == "none" or (order == "key" and entry.key is None):
            rivals = []
        if entry.finished and not rivals:
            chosen.add(offset)
        else:
            staying.append(entry)
    return chosen


@given(seed=st.integers(0, 2**32), order=st.sampled_from(get_args(Order)))
def test_every_record_is_chosen_once_whoever_owns_the_partition(seed: int, order: Order) -> None:
    """Records and gaps are written, polled, finished and committed, and owners change."""
    chance = random.Random(seed)
    log: dict[int, bytes | None] = {}
    entries: dict[int, Entry] = {}
    progress, end, position = Progress(0), 0, 0
    visible: list[int] = []
    for step in range(80):
        for _ in range(chance.randrange(4) if step < 60 else 0):
            end += chance.choice([0, 0, 1, 3])
            log[end] = chance.choice([None, b"a", b"b"])
            end += 1
        for offset in range(position, min(end, position + chance.randrange(6))):
            position = offset + 1
            if offset in log and offset not in progress:
                entries[offset] = Entry(0.0, log[offset], missing=1)
        for entry in entries.values():
            if chance.random() < (0.3 if step < 60 else 0.9):
                entry.missing = 0
        most = chance.choice([1, 3, 100])
        reached = choose(entries, progress, position, order, Few(most).admits).progress
        chosen = [offset for offset in entries if offset in reached]
        assert chosen == sorted(due(entries, order))[:most]
        assert reached.offset not in reached
        assert Progress.of_runs(reached.offset, reached.runs) == reached
        assert all(offset in reached for offset in range(end) if offset in progress)
        # Gaps of the log are in no range's way.
        assert len(reached.ahead) <= len([offset for offset in log if offset not in reached])
        done = {*visible, *chosen}
        assert all(offset in done for offset in log if offset in reached)
        if chance.random() < 0.7:
            progress, visible = reached, visible + chosen
            entries = {each: entry for each, entry in entries.items() if each not in done}
        if chance.random() < 0.15:
            entries, position = {}, progress.offset
    assert len(visible) == len({*visible})
    for key in (b"a", b"b"):
        line = [offset for offset in visible if log[offset] == key]
        assert order == "none" or line == sorted(line)
    assert order != "partition" or visible == sorted(visible)


@given(share=st.floats(0.1, 0.9), gap=st.integers(0, 5), seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_notes_stay_short_however_scattered_outcomes_are(share: float, gap: int, seed: int) -> None:
    """Records whose offsets are ``gap`` apart, with gaps of the log between them."""
    chance = random.Random(seed)
    window = CommitWindow("none")
    partition = PARTITIONS[0]
    epoch = window.assign(partition, Progress(0))
    for number in range(3 * MAX_RANGES + 1):
        position = Position(partition, 7 + number * (1 + gap))
        window.begin(position, 0.0)
        window.expand(position, epoch, 1)
        if chance.random() < share:
            window.settle(epoch, settled(position, 0))
    while (batch := window.take(50, 10_000)) is not None:
        reached = batch.progress[partition]
        assert Progress.of_runs(reached.offset, reached.runs) == reached
        assert len(reached.ahead) <= MAX_RANGES
        assert len(str(OffsetNote("0" * 36, 999_999_999, reached.runs))) < METADATA_BYTES
        window.confirm()
