"""Notices that all that is left of a job gets no outcome, or is never committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.errors import Halt
from pipeline.ports import Clock
from workers.backfill.worker import BackfillHealth

MOST_RETURNS = 2
"""Once a shard was returned so often since the last commit, outcomes are those of rows that were
looked at before, and only a commit is progress."""


class Stuck:
    """A worker gives an object up only beside another that its store serves. Where a store has
    served nothing, workers wait without end, as a stream should and a job should not. Nor may a job
    look at the same rows again and again because its output takes no results."""

    def __init__(self, stuck_s: float, clock: Clock) -> None:
        """``stuck_s`` is how long workers may have shards in work without progress."""
        self._stuck_s = stuck_s
        self._clock = clock
        self._rows = -1
        self._since = clock.monotonic()
        self._returns: Counter[int] = Counter()

    def committed(self) -> None:
        """A shard is committed."""
        self._returns.clear()
        self._since = self._clock.monotonic()

    def returned(self, shard: int) -> None:
        """A worker that goes on could not commit a shard."""
        self._returns[shard] += 1

    def look(self, rows: int, working: Sequence[BackfillHealth]) -> Halt | None:
        """The halt if it is time for one: ``backfill.stuck``. ``rows`` counts outcomes of the whole
        job. ``working`` are the workers that have a shard."""
        now = self._clock.monotonic()
        again = max(self._returns.values(), default=0) >= MOST_RETURNS
        if not working or (rows != self._rows and not again):
            self._since = now
        self._rows = rows
        if now - self._since < self._stuck_s:
            return None
        reasons = sorted({each.trouble for each in working if each.trouble is not None})
        missing = "a shard being committed" if again else "an outcome of any row"
        remedy = "; make room in the output or mend its store" if again else ""
        return Halt(
            "backfill.stuck",
            f"backfill: {len(working)} workers have had shards in work for {now - self._since:.0f} "
            f"s without {missing} (backfill.stuck_s is {self._stuck_s:g}): "
            f"{'; '.join(reasons) or 'no store has failed, so look at the log of the workers'}"
            f"{remedy}",
        )
