"""Pauses and resumes partitions, and logs a pause that lasts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from pipeline.ports import Clock, Stream
from pipeline.records import Partition

log = logging.getLogger(__name__)

TOLD_EVERY_S = 60.0
"""A pause is logged after this time, and again whenever it has lasted this much longer."""


_NAMED = 3
"""Partitions that a log line names."""


class Pausing:
    """Which partitions are paused at the stream, and why. Used by the Kafka thread only."""

    def __init__(self, stream: Stream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        # None: unknown, because the assignment has changed.
        self.paused: frozenset[Partition] | None = None
        self._since: dict[Partition, float] = {}
        self._told_at = clock.monotonic()

    def forget(self) -> None:
        """The assignment has changed. Newly assigned partitions are not paused."""
        self.paused = None

    def hold(self, partitions: Iterable[Partition], reasons: Mapping[Partition, str]) -> None:
        """Pause the partitions that have a reason, and resume all others."""
        hold = frozenset(reasons)
        if hold != self.paused:
            self._stream.pause(hold)
            self._stream.resume(frozenset(partitions) - hold)
            self.paused = hold
            now = self._clock.monotonic()
            self._since = {each: self._since.get(each, now) for each in hold}
        if hold:
            self._tell(reasons)

    def _tell(self, reasons: Mapping[Partition, str]) -> None:
        now = self._clock.monotonic()
        if now - self._told_at < TOLD_EVERY_S:
            return
        lasting = [each for each in sorted(self._since) if now - self._since[each] >= TOLD_EVERY_S]
        if not lasting:
            return
        self._told_at = now
        for reason in dict.fromkeys(reasons[each] for each in lasting):
            held = [each for each in lasting if reasons[each] == reason]
            named = ", ".join(map(str, held[:_NAMED]))
            more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
            oldest = min(self._since[each] for each in held)
            log.warning("%s%s: paused for up to %.0f s: %s", named, more, now - oldest, reason)
