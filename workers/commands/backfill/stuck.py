"""Notices that all that is left of a job gets no outcome."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import Halt
from pipeline.ports import Clock
from workers.backfill.worker import BackfillHealth


class Stuck:
    """A worker gives an object up only beside another that its store serves. Where a store has
    served nothing, workers wait without end, as a stream should and a job should not."""

    def __init__(self, stuck_s: float, clock: Clock) -> None:
        """``stuck_s`` is how long workers may have shards in work without an outcome of a row."""
        self._stuck_s = stuck_s
        self._clock = clock
        self._rows = -1
        self._since = clock.monotonic()

    def look(self, rows: int, workers: Sequence[BackfillHealth]) -> Halt | None:
        """The halt if it is time for one: ``backfill.stuck``. ``rows`` counts outcomes of the whole
        job. ``workers`` are those that answer."""
        working = [each for each in workers if each.working]
        now = self._clock.monotonic()
        if rows != self._rows or not working:
            self._rows, self._since = rows, now
        if now - self._since < self._stuck_s:
            return None
        reasons = sorted({each.trouble for each in working if each.trouble is not None})
        return Halt(
            "backfill.stuck",
            f"backfill: {len(working)} workers have had shards in work for {now - self._since:.0f} "
            f"s without an outcome of any row (backfill.stuck_s is {self._stuck_s:g}): "
            f"{'; '.join(reasons) or 'no store has failed, so look at the log of the workers'}",
        )
