"""The gauges of a stream worker. They are updated during an outage of the broker too, because
people look at them then."""

from __future__ import annotations

from pipeline import metrics
from pipeline.commit.window import CommitWindow
from pipeline.ports import Clock, Meter, Stream
from pipeline.records import Partition
from workers.stream.committing import Committer

INTERVAL_S = 0.25
"""Time between two updates."""


class Gauges:
    """Reports what a worker holds and how far behind it is. Runs on the Kafka thread, without
    I/O."""

    def __init__(
        self,
        stream: Stream,
        window: CommitWindow,
        committer: Committer,
        *,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._stream = stream
        self._window = window
        self._committer = committer
        self._clock = clock
        self._meter = meter
        self._due_at = clock.monotonic()
        self.lag: int | None = None
        """Records behind the ends of all owned partitions; None until every end is known."""

    def update_when_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + INTERVAL_S
        self._meter.set(metrics.IN_FLIGHT, self._window.unfinished)
        self._meter.set(metrics.IN_FLIGHT_BYTES, self._window.settled_bytes)
        progress = map(self._window.progress, self._window.partitions)
        self._meter.set(metrics.DONE_AHEAD, sum(each.beyond for each in progress))
        oldest = self._window.oldest_begun_at()
        self._meter.set(metrics.OLDEST_SECONDS, 0.0 if oldest is None else now - oldest)
        self._meter.set(metrics.COMMIT_AGE_SECONDS, self._committer.age_s())
        self._update_lag()

    def forget(self, partition: Partition) -> None:
        """Stop exposing a partition that was revoked."""
        self._meter.forget(metrics.LAG, **_labels(partition))

    def follow_assignment(self) -> None:
        """The assignment has changed: count the partitions now, and their lag at the next
        update."""
        self._meter.add(metrics.REBALANCES)
        self._meter.set(metrics.ASSIGNED, len(self._window.partitions))
        self.lag = None
        self._due_at = self._clock.monotonic()

    def _update_lag(self) -> None:
        ends = self._stream.ends()
        behind = {
            partition: max(0, ends[partition] - self._window.progress(partition).count)
            for partition in self._window.partitions
            if partition in ends
        }
        for partition, records in behind.items():
            self._meter.set(metrics.LAG, records, **_labels(partition))
        known = len(behind) == len(self._window.partitions)
        self.lag = sum(behind.values()) if known else None


def _labels(partition: Partition) -> dict[str, str]:
    return {"topic": partition.topic, "partition": str(partition.number)}
