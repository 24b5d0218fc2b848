"""The commit window: which offsets may be committed, and with which outcomes.

A pure state machine without I/O, time or threads; the Kafka thread owns it. A record's offset may
be committed only when it and every record before it in its partition have all their outcomes, and
those outcomes go in the same commit. Later completions wait here.

Life of a record: ``begin`` when polled, ``expand`` when its references are known, ``settle`` for
each reference, ``take`` into a commit, ``confirm`` when the commit succeeded. ``abandon`` puts a
failed commit's outcomes back; ``reconcile`` settles one whose fate was unknown.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.commit.settled import Settled
from pipeline.records import Epoch, Partition, Position


@dataclass(slots=True)
class _Entry:
    """One polled record. ``missing`` is None until its references are known."""

    begun_at: float
    missing: int | None = None
    settled: list[Settled | None] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.missing == 0

    @property
    def size_bytes(self) -> int:
        return sum(settled.size_bytes for settled in self.settled if settled is not None)


@dataclass(slots=True)
class _Window:
    """One assigned partition. ``base`` is the committed offset, as far as this worker knows;
    ``position`` the next offset to be polled."""

    epoch: Epoch
    base: int
    position: int
    entries: OrderedDict[int, _Entry] = field(default_factory=OrderedDict)
    held: int = 0
    """References that are not committed, whether settled or not."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A contiguous finished prefix of each partition that has one, ready to commit.

    ``outcomes`` are in offset order within a partition, in reference order within a record.
    """

    offsets: Mapping[Partition, int]
    outcomes: tuple[Settled, ...]

    @property
    def size_bytes(self) -> int:
        return sum(settled.size_bytes for settled in self.outcomes)


class CommitWindow:
    """The begun and finished offsets of every partition that this worker owns."""

    def __init__(self) -> None:
        self._windows: dict[Partition, _Window] = {}
        self._epochs: dict[Partition, Epoch] = {}
        self._taken: Batch | None = None
        self._rotation: deque[Partition] = deque()
        self._held: Counter[str] = Counter()
        self._unsettled = 0
        self._settled = 0
        self._settled_bytes = 0
        self.passed = 0
        """Offsets that commits have moved past, gaps of the log included: what lag falls by."""

    # -- assignment -------------------------------------------------------------------------

    def assign(self, partition: Partition, offset: int) -> Epoch:
        """Own a partition from ``offset`` on. Whatever was known of it before is void."""
        self.revoke(partition)
        epoch = Epoch(self._epochs.get(partition, 0) + 1)
        self._epochs[partition] = epoch
        self._windows[partition] = _Window(epoch, base=offset, position=offset)
        self._rotation.append(partition)
        return epoch

    def revoke(self, partition: Partition) -> None:
        """Give a partition up: its unfinished and uncommitted work is void. Idempotent.

        A batch in flight is not changed: if its commit succeeds after all, the broker has accepted
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

    def begin(self, position: Position, now: float) -> Epoch | None:
        """Note a polled record, in offset order. Returns the epoch its work belongs to, or None
        where the partition is not owned or the record was polled before."""
        window = self._windows.get(position.partition)
        if window is None or position.offset < window.position:
            return None
        window.entries[position.offset] = _Entry(begun_at=now)
        window.position = position.offset + 1
        return window.epoch

    def expand(self, position: Position, epoch: Epoch, references: int) -> bool:
        """Note how many references the record holds. Returns False where its epoch is over."""
        entry = self._entry(position, epoch)
        if entry is None or entry.missing is not None:
            return False
        entry.missing = references
        entry.settled = [None] * references
        self._unsettled += references
        self._windows[position.partition].held += references
        self._held[position.partition.topic] += references
        return True

    def settle(self, epoch: Epoch, settled: Settled) -> bool:
        """Note one reference's outcome. Returns False, and changes nothing, where the epoch is
        over or the reference was settled before."""
        origin = settled.origin
        entry = self._entry(origin.position, epoch)
        if entry is None or entry.missing is None or entry.settled[origin.index] is not None:
            return False
        entry.settled[origin.index] = settled
        entry.missing -= 1
        self._unsettled -= 1
        self._settled += 1
        self._settled_bytes += settled.size_bytes
        return True

    def replace(self, settled: Settled) -> None:
        """Put an outcome in place of the same reference's, which cannot be published."""
        origin = settled.origin
        window = self._windows.get(origin.position.partition)
        entry = window.entries.get(origin.position.offset) if window else None
        if entry is None:
            return
        old = entry.settled[origin.index]
        if old is None:
            raise ValueError(f"offsets: {origin} has no outcome to replace")
        entry.settled[origin.index] = settled
        self._settled_bytes += settled.size_bytes - old.size_bytes

    def advance(self, positions: Mapping[Partition, int]) -> None:
        """Note the consumer's positions: offsets below them that brought no record are gaps in
        the log (control records, compaction) and count as finished."""
        for partition, position in positions.items():
            window = self._windows.get(partition)
            if window is not None and position > window.position:
                window.position = position

    # -- commits ----------------------------------------------------------------------------

    def take(self, max_outcomes: int, max_bytes: int) -> Batch | None:
        """The next batch to commit, or None where there is nothing to commit.

        Takes whole records, so one record may exceed either bound alone. Partitions take turns at
        being first.
        """
        if self._taken is not None:
            raise RuntimeError("offsets: a batch is already taken; confirm or abandon it first")
        offsets: dict[Partition, int] = {}
        outcomes: list[Settled] = []
        left_bytes = max_bytes
        for partition in self._rotation:
            window = self._windows[partition]
            upto, taken_bytes = self._take_prefix(
                partition, window, outcomes, max_outcomes, left_bytes
            )
            left_bytes -= taken_bytes
            if upto > window.base:
                offsets[partition] = upto
        self._rotation.rotate(-1)
        if not offsets:
            return None
        self._taken = Batch(offsets, tuple(outcomes))
        return self._taken

    @staticmethod
    def _take_prefix(
        partition: Partition,
        window: _Window,
        outcomes: list[Settled],
        max_outcomes: int,
        left_bytes: int,
    ) -> tuple[int, int]:
        """Add a partition's finished records to ``outcomes`` while both bounds allow.

        Returns:
            The offset to commit, and the bytes of what was added.
        """
        taken_bytes = 0
        for offset, entry in window.entries.items():
            if not entry.finished:
                return offset, taken_bytes
            size_bytes = entry.size_bytes
            room = (
                len(outcomes) + len(entry.settled) <= max_outcomes
                and taken_bytes + size_bytes <= left_bytes
            )
            if outcomes and not room:
                return offset, taken_bytes
            taken_bytes += size_bytes
            for settled in entry.settled:
                if settled is None:
                    raise RuntimeError(f"offsets: {partition}@{offset} is finished with a hole")
                outcomes.append(settled)
        return window.position, taken_bytes

    def ready(self) -> Iterator[Settled]:
        """The outcomes that could be committed now, however many; in offset order within a
        partition."""
        for window in self._windows.values():
            for entry in window.entries.values():
                if not entry.finished:
                    break
                yield from filter(None, entry.settled)

    def confirm(self) -> Batch:
        """The taken batch was committed: forget its records."""
        batch = self._end_taken()
        for partition, upto in batch.offsets.items():
            self._prune(partition, upto)
        return batch

    def abandon(self) -> None:
        """The taken batch was not committed: its outcomes stay for the next one."""
        self._end_taken()

    def reconcile(
        self, committed: Mapping[Partition, int | None]
    ) -> tuple[tuple[Settled, ...], tuple[tuple[Partition, int], ...]]:
        """Settle a taken batch of unknown fate by what the broker says is committed.

        A partition at the batch's offset was committed, and is pruned; one at or below its base
        was not, and its outcomes stay. Anything else means that somebody else moved the offset:
        what is known of the partition is void.

        Returns:
            The outcomes that turned out to be committed, and the partitions to ``assign`` again
            and seek, with their offsets.
        """
        batch = self._end_taken()
        done: list[Settled] = []
        moved: list[tuple[Partition, int]] = []
        for partition, upto in batch.offsets.items():
            window = self._windows.get(partition)
            if window is None:
                continue
            offset = committed.get(partition)
            if offset == upto:
                done.extend(
                    settled
                    for settled in batch.outcomes
                    if settled.origin.position.partition == partition
                )
                self._prune(partition, upto)
            elif offset is not None and offset > window.base:
                moved.append((partition, offset))
        return tuple(done), tuple(moved)

    # -- what is held -----------------------------------------------------------------------

    @property
    def unsettled(self) -> int:
        """References whose outcome is awaited."""
        return self._unsettled

    @property
    def settled(self) -> int:
        """References whose outcome waits for its commit."""
        return self._settled

    def held_of(self, topic: str) -> int:
        """References of a topic that are not committed, whether settled or not."""
        return self._held[topic]

    def held(self, partition: Partition) -> int:
        """References of an owned partition that are not committed, whether settled or not."""
        return self._windows[partition].held

    @property
    def settled_bytes(self) -> int:
        """Payload bytes of the outcomes that wait for their commit."""
        return self._settled_bytes

    @property
    def taken(self) -> Batch | None:
        """The batch that was taken and neither confirmed nor abandoned."""
        return self._taken

    @property
    def idle(self) -> bool:
        """Whether every polled record is committed."""
        return not any(window.entries for window in self._windows.values())

    def oldest_begun_at(self) -> float | None:
        """When the oldest uncommitted record was begun, on the clock given to ``begin``."""
        firsts: Iterable[_Entry] = (
            next(iter(window.entries.values()))
            for window in self._windows.values()
            if window.entries
        )
        return min((entry.begun_at for entry in firsts), default=None)

    def committed(self, partition: Partition) -> int:
        """The committed offset of an owned partition, as far as this worker knows."""
        return self._windows[partition].base

    # -- inside -----------------------------------------------------------------------------

    def _entry(self, position: Position, epoch: Epoch) -> _Entry | None:
        window = self._windows.get(position.partition)
        if window is None or window.epoch != epoch:
            return None
        return window.entries.get(position.offset)

    def _end_taken(self) -> Batch:
        if self._taken is None:
            raise RuntimeError("offsets: no batch is taken")
        batch, self._taken = self._taken, None
        return batch

    def _prune(self, partition: Partition, upto: int) -> None:
        window = self._windows.get(partition)
        if window is None:
            return
        while window.entries and next(iter(window.entries)) < upto:
            _, entry = window.entries.popitem(last=False)
            self._forget(partition, window, entry)
        self.passed += max(0, upto - window.base)
        window.base = max(window.base, upto)

    def _forget(self, partition: Partition, window: _Window, entry: _Entry) -> None:
        if entry.missing is None:
            return
        window.held -= len(entry.settled)
        self._held[partition.topic] -= len(entry.settled)
        self._unsettled -= entry.missing
        self._settled -= len(entry.settled) - entry.missing
        self._settled_bytes -= entry.size_bytes
