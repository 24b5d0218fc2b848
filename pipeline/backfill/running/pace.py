"""How fast a job goes, and how long it will take."""

from __future__ import annotations

from collections import deque

from pipeline.backfill.running.progress import Left
from pipeline.ports import Clock

SPAN_S = 60.0
"""A rate is measured over this time at least: shards end in steps, and outcomes come in batches."""

LIKELY_SPANS = 5
KEPT_SPANS = 30
TENTH = 0.1
"""The range leaves out a tenth of the spans at each end."""


class Pace:
    """Call ``see`` with every look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spans: deque[tuple[float, int, int]] = deque(maxlen=KEPT_SPANS)
        self._began: tuple[float, int, int] | None = None
        self._latest: tuple[float, int, int] | None = None

    def see(self, rows: int, size_bytes: int, *, running: bool) -> None:
        """``rows`` and ``size_bytes`` only grow. While the job does not run, no time passes."""
        now = self._clock.monotonic()
        if not running:
            self._began = self._latest = None
            return
        self._latest = (now, rows, size_bytes)
        if self._began is None:
            # Time in which the first workers load their model says nothing about the rate.
            if not self._spans and not rows:
                return
            self._began = self._latest
            return
        began, rows_then, bytes_then = self._began
        if now - began >= SPAN_S:
            self._spans.append((now - began, rows - rows_then, size_bytes - bytes_then))
            self._began = self._latest

    @property
    def rate(self) -> float:
        """Rows a second, of the last minutes."""
        return self._rates()[0]

    @property
    def byte_rate(self) -> float:
        return self._rates()[1]

    def left(self, rows: int) -> Left | None:
        """How long so many rows take. None until that is known."""
        likely = self.rate
        if likely <= 0:
            return None
        known = sorted(count / seconds for seconds, count, _ in self._spans if count)
        if not known:
            return None
        tenth = int(len(known) * TENTH)
        slow, fast = known[tenth], known[len(known) - 1 - tenth]
        return Left(
            soonest=rows / max(fast, likely),
            likely=rows / likely,
            latest=rows / min(slow, likely),
        )

    def _rates(self) -> tuple[float, float]:
        spans = list(self._spans)[-LIKELY_SPANS:]
        if not spans and self._began is not None and self._latest is not None:
            spans = [
                (
                    self._latest[0] - self._began[0],
                    self._latest[1] - self._began[1],
                    self._latest[2] - self._began[2],
                )
            ]
        seconds = sum(span[0] for span in spans)
        if seconds <= 0:
            return 0.0, 0.0
        return sum(span[1] for span in spans) / seconds, sum(span[2] for span in spans) / seconds
