"""The commit window: which offsets may be committed, and with which outcomes.

The window is a pure state machine without I/O, time or threads; the Kafka thread owns it. A
committed offset says that the records before it have all their outcomes. The same commit publishes
those outcomes. Outcomes that are complete earlier wait here, as far as ``Order`` demands it. Others
are committed ahead: the commit says which offsets beyond the committed one are done.

Life of a record: ``begin`` when it is polled, ``expand`` when its references are known, ``settle``
for each reference, ``take`` into a commit, ``confirm`` when the commit succeeded. ``abandon`` puts
back the outcomes of a failed commit. ``reconcile`` resolves a commit whose result was unknown.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.commit.order import Entry, Order, choose
from pipeline.commit.settled import Settled
from pipeline.records import Epoch, Partition, Position
from pipeline.records.progress import Progress


@dataclass(slots=True)
class _Window:
    """One assigned partition. ``progress`` is what is committed, as far as this worker knows.
    ``position`` is the next offset to be polled."""

    epoch: Epoch
    progress: Progress
    position: int
    entries: OrderedDict[int, Entry] = field(default_factory=OrderedDict)
    held: int = 0
    """References that are not committed, whether they have an outcome or not."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Finished records of partitions, and the progress that they bring, ready to commit.

    ``outcomes`` are in offset order within a partition, and in reference order within a record.
    """

    progress: Mapping[Partition, Progress]
    outcomes: tuple[Settled, ...]

    @property
    def size_bytes(self) -> int:
        return sum(settled.size_bytes for settled in self.outcomes)


class _Room:
    """What is left of a batch's bounds. A batch takes whole records, so a record may exceed either
    bound if it is the only one."""

    def __init__(self, outcomes: int, size_bytes: int) -> None:
        self._outcomes = outcomes
        self._bytes = size_bytes
        self._empty = True

    def admits(self, entry: Entry) -> bool:
        outcomes, size_bytes = len(entry.settled), entry.size_bytes
        if not self._empty and (outcomes > self._outcomes or size_bytes > self._bytes):
            return False
        self._outcomes -= outcomes
        self._bytes -= size_bytes
        self._empty = self._empty and not outcomes
        return True


class CommitWindow:
    """The begun and finished offsets of every partition that this worker owns."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._windows: dict[Partition, _Window] = {}
        self._epochs: dict[Partition, Epoch] = {}
        self._taken: Batch | None = None
        self._rotation: deque[Partition] = deque()
        self._held: Counter[str] = Counter()
        self._unfinished = 0
        self._unsettled = 0
        self._settled_bytes = 0
        self.passed = 0
        """Offsets that commits have moved past, including gaps in the log. Lag falls by this
        number."""

    # -- assignment -------------------------------------------------------------------------

    def assign(self, partition: Partition, progress: Progress) -> Epoch:
        """Own a partition that has come so far. Earlier knowledge about the partition is
        dropped."""
        self.revoke(partition)
        epoch = Epoch(self._epochs.get(partition, 0) + 1)
        self._epochs[partition] = epoch
        self._windows[partition] = _Window(epoch, progress, progress.offset)
        self._rotation.append(partition)
        return epoch

    def revoke(self, partition: Partition) -> None:
        """Give a partition up and drop its unfinished and uncommitted work. Idempotent.

        A batch in flight does not change. If its commit succeeds after all, the broker has accepted
        offsets and outcomes together, and ``confirm`` ignores the partition.
        """
        window = self._windows.pop(partition, None)
        if window is None:
            return
        self._rotation.remove(partition)
        for entry in window.entries.values():
            self._forget(partition, window, entry)

    def epoch(self, partition: Partition) -> Epoch | None:
        window = self._windows.get(partition)
        return window.epoch if window else None

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return tuple(self._windows)

    # -- progress ---------------------------------------------------------------------------

    def begin(self, position: Position, now: float, key: bytes | None = None) -> Epoch | None:
        """Note a polled record, in offset order. Returns the epoch of the record's work, or None if
        the partition is not owned, or the record was polled before or is done."""
        window = self._windows.get(position.partition)
        if window is None or position.offset < window.position:
            return None
        window.position = position.offset + 1
        if position.offset in window.progress:
            return None
        window.entries[position.offset] = Entry(now, key)
        return window.epoch

    def expand(self, position: Position, epoch: Epoch, references: int) -> bool:
        """Note how many references the record holds. Returns False if the record's epoch is
        over."""
        entry = self._entry(position, epoch)
        if entry is None or entry.missing is not None:
            return False
        entry.missing = references
        entry.settled = [None] * references
        self._unfinished += references
        self._unsettled += references
        self._windows[position.partition].held += references
        self._held[position.partition.topic] += references
        return True

    def settle(self, epoch: Epoch, settled: Settled) -> bool:
        """Note one reference's outcome. Returns False, and changes nothing, if the epoch is over or
        the reference already has an outcome."""
        origin = settled.origin
        entry = self._entry(origin.position, epoch)
        if entry is None or entry.missing is None or entry.settled[origin.index] is not None:
            return False
        entry.settled[origin.index] = settled
        entry.missing -= 1
        self._unsettled -= 1
        self._settled_bytes += settled.size_bytes
        return True

    def replace(self, settled: Settled) -> None:
        """Replace a reference's outcome, which cannot be published, by another one."""
        origin = settled.origin
        window = self._windows.get(origin.position.partition)
        entry = window.entries.get(origin.position.offset) if window else None
        if entry is None:
            return
        old = entry.settled[origin.index]
        if old is None:
            raise ValueError(f"commit window: {origin} has no outcome to replace")
        entry.settled[origin.index] = settled
        self._settled_bytes += settled.size_bytes - old.size_bytes

    def advance(self, positions: Mapping[Partition, int]) -> None:
        """Note the consumer's positions. Offsets below them that brought no record are gaps in the
        log (control records, compaction) and count as finished."""
        for partition, position in positions.items():
            window = self._windows.get(partition)
            if window is not None and position > window.position:
                window.position = position

    # -- commits ----------------------------------------------------------------------------

    def take(self, max_outcomes: int, max_bytes: int) -> Batch | None:
        """The next batch to commit, or None if there is nothing to commit.

        A batch takes whole records, so a single record may exceed either bound. Partitions take
        turns at being first.
        """
        if self._taken is not None:
            raise RuntimeError(
                "commit window: a batch is already taken; confirm or abandon it first"
            )
        room = _Room(max_outcomes, max_bytes)
        progress: dict[Partition, Progress] = {}
        outcomes: list[Settled] = []
        for partition in self._rotation:
            window = self._windows[partition]
            choice = choose(
                window.entries, window.progress, window.position, self._order, room.admits
            )
            if choice.progress != window.progress:
                progress[partition] = choice.progress
                outcomes.extend(choice.outcomes)
        self._rotation.rotate(-1)
        if not progress:
            return None
        self._taken = Batch(progress, tuple(outcomes))
        return self._taken

    def ready(self) -> Iterator[Settled]:
        """All outcomes that could be committed now, without bounds; in offset order within a
        partition."""
        for window in self._windows.values():
            yield from choose(
                window.entries, window.progress, window.position, self._order
            ).outcomes

    def confirm(self) -> Batch:
        """The taken batch was committed: drop its records."""
        batch = self._end_taken()
        for partition, progress in batch.progress.items():
            self._prune(partition, progress)
        return batch

    def abandon(self) -> None:
        """The taken batch was not committed: keep its outcomes for the next batch."""
        self._end_taken()

    def reconcile(
        self, committed: Mapping[Partition, Progress | None]
    ) -> tuple[tuple[Settled, ...], tuple[tuple[Partition, Progress], ...]]:
        """Resolve a taken batch whose result is unknown, from the progress that the broker has.

        A partition with the batch's progress was committed; its records are dropped. A partition
        whose progress is as before was not committed; its outcomes stay. With any other progress,
        somebody else has moved the offset, and the caller must ``assign`` the partition again.

        Returns:
            The outcomes that turned out to be committed, and the partitions to ``assign`` again and
                seek, with their progress.
        """
        batch = self._end_taken()
        done: list[Settled] = []
        moved: list[tuple[Partition, Progress]] = []
        for partition, wanted in batch.progress.items():
            window = self._windows.get(partition)
            if window is None:
                continue
            found, before = committed.get(partition), window.progress
            if found == wanted:
                done.extend(
                    settled
                    for settled in batch.outcomes
                    if settled.origin.position.partition == partition
                )
                self._prune(partition, wanted)
            elif found is not None and found != before and found.offset >= before.offset:
                moved.append((partition, found))
        return tuple(done), tuple(moved)

    # -- what is held -----------------------------------------------------------------------

    @property
    def unfinished(self) -> int:
        """References that are not committed, whether they have an outcome or not. Another thread
        may read it: an outcome that arrives meanwhile is not counted twice."""
        return self._unfinished

    @property
    def unsettled(self) -> int:
        """References that have no outcome yet."""
        return self._unsettled

    @property
    def settled(self) -> int:
        """References whose outcome waits for its commit."""
        return self._unfinished - self._unsettled

    def held_of(self, topic: str) -> int:
        """References of a topic that are not committed, whether they have an outcome or not."""
        return self._held[topic]

    def held(self, partition: Partition) -> int:
        """References of an owned partition that are not committed, whether they have an outcome or
        not."""
        return self._windows[partition].held

    @property
    def settled_bytes(self) -> int:
        """Payload bytes of the outcomes that wait for their commit."""
        return self._settled_bytes

    @property
    def taken(self) -> Batch | None:
        """The batch that is taken and neither confirmed nor abandoned."""
        return self._taken

    @property
    def idle(self) -> bool:
        """Whether every polled record is committed."""
        return not any(window.entries for window in self._windows.values())

    def oldest_begun_at(self) -> float | None:
        """When the oldest uncommitted record was begun, on the clock given to ``begin``."""
        firsts: Iterable[Entry] = (
            next(iter(window.entries.values()))
            for window in self._windows.values()
            if window.entries
        )
        return min((entry.begun_at for entry in firsts), default=None)

    def progress(self, partition: Partition) -> Progress:
        """What is committed of an owned partition, as far as this worker knows."""
        return self._windows[partition].progress

    # -- inside -----------------------------------------------------------------------------

    def _entry(self, position: Position, epoch: Epoch) -> Entry | None:
        window = self._windows.get(position.partition)
        if window is None or window.epoch != epoch:
            return None
        return window.entries.get(position.offset)

    def _end_taken(self) -> Batch:
        if self._taken is None:
            raise RuntimeError("commit window: no batch is taken")
        batch, self._taken = self._taken, None
        return batch

    def _prune(self, partition: Partition, progress: Progress) -> None:
        window = self._windows.get(partition)
        if window is None or progress.count <= window.progress.count:
            return
        for offset in [offset for offset in window.entries if offset in progress]:
            self._forget(partition, window, window.entries.pop(offset))
        self.passed += progress.count - window.progress.count
        window.progress = progress

    def _forget(self, partition: Partition, window: _Window, entry: Entry) -> None:
        if entry.missing is None:
            return
        window.held -= len(entry.settled)
        self._held[partition.topic] -= len(entry.settled)
        self._unfinished -= len(entry.settled)
        self._unsettled -= entry.missing
        self._settled_bytes -= entry.size_bytes
