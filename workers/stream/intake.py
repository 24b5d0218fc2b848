"""Records that a stream worker has polled and not begun, and how many of them each partition may
begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Protocol

from pipeline.commit.window import CommitWindow
from pipeline.flow import FlowPolicy
from pipeline.priority import PriorityPolicy
from pipeline.records import Epoch, Partition, Record

MIB = 1024 * 1024

NO_ROOM = "flow.max_in_flight or flow.max_pending_mib is reached; look at the slowest stage"
NO_SHARE = "it holds its share of flow.max_in_flight; one of its images is slow, or the worker is"
CROWDED = (
    "its objects fail or wait for their store, and the most that may do so are in progress; see "
    "docs/fetching.md"
)


class Supply(Protocol):
    """The source of objects, as far as the intake must know it. May be asked from any thread."""

    @property
    def available(self) -> bool:
        """Whether more references should be taken in at all."""

    @property
    def serving(self) -> bool:
        """Whether a source of objects that is in use serves. Differs from ``available`` if only
        sources that no reference has named so far are left: a first reference may still come."""

    @property
    def held_up(self) -> frozenset[Hashable]:
        """Sources (here: partitions) whose references wait in an outage of one store, while other
        partitions go on. Empty with a single store: in its outage ``available`` is false."""

    @property
    def sources_aside(self) -> frozenset[Hashable]:
        """Sources (here: partitions) with objects that may yet succeed: objects that have failed,
        or whose store is down."""

    @property
    def room_aside(self) -> int:
        """References that those partitions together may bring now."""


class Intake:
    """Records that wait to be begun. Used by the Kafka thread only.

    Each priority level may hold half of what the level before it may, as far as earlier levels
    leave that room. ``min_share`` of the room is always kept for each lower level.

    Half of a level's room is divided among its partitions and kept for each of them. The other half
    is for any partition, first come, first served. So a partition with slow references leaves room
    for the others.
    """

    def __init__(
        self, window: CommitWindow, flow: FlowPolicy, priority: PriorityPolicy, supply: Supply
    ) -> None:
        self._window = window
        self._flow = flow
        self._priority = priority
        self._supply = supply
        # By partition, so that what must wait is not looked at again in every cycle. A partition
        # whose records are all begun leaves, and comes last when it brings more.
        self._backlogs: dict[int, dict[Partition, deque[tuple[Record, Epoch]]]] = {
            level: {} for level in priority.levels
        }
        # Kept for each lower level; all together at most half of the room, which the policy checks.
        self._kept = int(flow.max_in_flight * priority.min_share)

    def add(self, record: Record, epoch: Epoch) -> None:
        partition = record.position.partition
        backlog = self._backlogs[self.level(partition.topic)]
        backlog.setdefault(partition, deque()).append((record, epoch))

    def level(self, topic: str) -> int:
        return self._priority.level(topic)

    def ready(self) -> Iterator[tuple[Record, Epoch]]:
        """Records to be begun now, while there is room for them. The caller begins each record that
        it takes."""
        if not any(self._backlogs.values()):
            return
        aside, room_aside = self._supply.sources_aside, self._supply.room_aside
        for level, backlog in self._backlogs.items():
            shares = self._shares(level)
            for partition in [*backlog]:
                waiting, is_aside = backlog[partition], partition in aside
                while (
                    waiting
                    and self.room(level) > 0
                    and (room_aside > 0 or not is_aside)
                    and shares.allow(partition)
                ):
                    yield waiting.popleft()
                    begun = shares.follow(partition)
                    room_aside -= begun if is_aside else 0
                if not waiting:
                    del backlog[partition]

    def drop(self, partition: Partition) -> None:
        """Drop the records of a partition."""
        self._backlogs[self.level(partition.topic)].pop(partition, None)

    def most(self) -> int:
        """References that any level may begin now."""
        return max(map(self.room, self._backlogs))

    def room(self, level: int) -> int:
        """References that a level may begin now."""
        window, most = self._window, self._flow.max_in_flight
        if window.settled_bytes >= self._flow.max_pending_mib * MIB:
            return 0
        held = window.unfinished
        if len(self._backlogs) == 1:
            return max(0, most - held)
        own = self._held(level)
        kept_for_others = sum(
            max(0, self._kept - self._held(other)) for other in self._backlogs if other > level
        )
        left = max(1, most >> level) - held
        kept = self._kept - own if level else 0
        return max(0, min(most - held - kept_for_others, max(left, kept)))

    def full(self, partitions: Iterable[Partition]) -> Mapping[Partition, str]:
        """Partitions that should not be polled now, and why."""
        no_room = {level for level in self._backlogs if not self.room(level)}
        waiting = {partition for backlog in self._backlogs.values() for partition in backlog}
        aside = self._supply.sources_aside if self._supply.room_aside <= 0 else ()
        shares = {level: self._shares(level) for level in self._backlogs}
        full = {}
        for partition in partitions:
            level = self.level(partition.topic)
            if partition in aside:
                full[partition] = CROWDED
            elif level in no_room:
                full[partition] = NO_ROOM
            elif partition in waiting or not shares[level].allow(partition):
                full[partition] = NO_SHARE
        return full

    def _held(self, level: int) -> int:
        window, lower = self._window, self._priority.lower
        if level:
            return window.held_of(lower[level - 1])
        return window.unfinished - sum(map(window.held_of, lower))

    def _shares(self, level: int) -> _Shares:
        most = max(1, self._flow.max_in_flight >> level)
        return _Shares(self._window, self._partitions(level), most)

    def _partitions(self, level: int) -> list[Partition]:
        return [each for each in self._window.partitions if self.level(each.topic) == level]


class _Shares:
    """Which partitions may begin more now, given what they hold of ``most`` references."""

    def __init__(self, window: CommitWindow, partitions: Iterable[Partition], most: int) -> None:
        self._window = window
        self._held = {each: window.held(each) for each in partitions}
        self._share = max(1, most // (2 * max(1, len(self._held))))
        self._common = most - most // 2
        self._taken = sum(map(self._beyond, self._held.values()))

    def allow(self, partition: Partition) -> bool:
        return self._held.get(partition, 0) < self._share or self._taken < self._common

    def follow(self, partition: Partition) -> int:
        """Note what the partition holds now. Returns how much more that is than before."""
        if partition not in self._held:
            return 0
        before, held = self._held[partition], self._window.held(partition)
        self._taken += self._beyond(held) - self._beyond(before)
        self._held[partition] = held
        return held - before

    def _beyond(self, held: int) -> int:
        return max(0, held - self._share)
