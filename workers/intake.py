"""What a stream worker has polled and not begun, by priority, and how much each level may begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from pipeline.flow import FlowPolicy
from pipeline.offsets import CommitWindow
from pipeline.priority import PriorityPolicy
from pipeline.records import Epoch, Partition, Record

MIB = 1024 * 1024


class Intake:
    """Records that wait to be begun. The Kafka thread's alone.

    Each level may hold half of what the one before it may, as far as those before leave it; its
    ``min_share`` is kept free for it in any case.
    """

    def __init__(self, window: CommitWindow, flow: FlowPolicy, priority: PriorityPolicy) -> None:
        self._window = window
        self._flow = flow
        self._priority = priority
        self._backlogs: dict[int, deque[tuple[Record, Epoch]]] = {
            level: deque() for level in priority.levels
        }
        # All of them together: half of the room, as the policy sees to.
        self._kept = int(flow.max_in_flight * priority.min_share)

    def add(self, record: Record, epoch: Epoch) -> None:
        self._backlogs[self.level(record.position.topic)].append((record, epoch))

    def level(self, topic: str) -> int:
        return self._priority.level(topic)

    def ready(self) -> Iterator[tuple[Record, Epoch]]:
        """Records to be begun now, while there is room for them; whoever takes one begins it."""
        for level, backlog in self._backlogs.items():
            while backlog and self.room(level) > 0:
                yield backlog.popleft()

    def drop(self, partition: Partition) -> None:
        """Forget the records of a partition."""
        for level, backlog in self._backlogs.items():
            self._backlogs[level] = deque(
                (record, epoch)
                for record, epoch in backlog
                if (record.position.topic, record.position.partition)
                != (partition.topic, partition.number)
            )

    def most(self) -> int:
        """References that any level may begin now."""
        return max(map(self.room, self._backlogs))

    def room(self, level: int) -> int:
        """References that a level may begin now."""
        window, most = self._window, self._flow.max_in_flight
        if window.settled_bytes >= self._flow.max_pending_mib * MIB:
            return 0
        held = window.unsettled + window.settled
        if len(self._backlogs) == 1:
            return max(0, most - held)
        own = self._held(level)
        kept_for_others = sum(
            max(0, self._kept - self._held(other)) for other in self._backlogs if other > level
        )
        left = max(1, most >> level) - held
        kept = self._kept - own if level else 0
        return max(0, min(most - held - kept_for_others, max(left, kept)))

    def full(self, partitions: Iterable[Partition]) -> frozenset[Partition]:
        """Partitions of which nothing more should be polled now."""
        levels = {
            level for level, backlog in self._backlogs.items() if backlog or not self.room(level)
        }
        return frozenset(each for each in partitions if self.level(each.topic) in levels)

    def _held(self, level: int) -> int:
        topics = {each.topic for each in self._window.partitions if self.level(each.topic) == level}
        return sum(self._window.held(topic) for topic in topics)
