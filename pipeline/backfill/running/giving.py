"""Gives places for workers back while a stream on the same cluster needs them.

The stream's workers cannot start while a backfill holds the devices, because Ray preempts nothing.
So the backfill watches the stream's lag:

- Above the bound, half of the places are given back at once, and again half of what is left every
  ``STEP_S`` while the lag is above the bound and does not fall.
- At most half the bound for ``QUIET_S`` without a break, places are taken again: one, then each
  time twice as many. The gap between both bounds keeps a steady lag from moving places to and fro.
- While the lag is unknown, nothing changes.
"""

from __future__ import annotations

from pipeline.ports import Clock

STEP_S = 30.0
"""A worker that leaves needs some time, and so does one of the stream that starts."""

QUIET_S = 120.0


class Giving:
    """Decides how many places the job may have."""

    def __init__(self, above: int, clock: Clock) -> None:
        """``above`` is the lag, in records, from which on places are given back."""
        self._above = above
        self._clock = clock
        self._allowed: int | None = None
        self._stepped_at = 0.0
        self._lag_then = 0
        self._quiet_since: float | None = None

    def allowed(self, lag: int | None, places: int) -> int:
        """Places that the job may have, of ``places`` that it would have alone."""
        now = self._clock.monotonic()
        if lag is None:
            self._quiet_since = None
        elif lag > self._above:
            self._quiet_since = None
            self._give(lag, places, now)
        elif 2 * lag > self._above:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= QUIET_S and self._allowed is not None:
            self._allowed = max(1, 2 * self._allowed)
            self._quiet_since = now
        if self._allowed is not None and self._allowed >= places:
            self._allowed = None
        return places if self._allowed is None else self._allowed

    def _give(self, lag: int, places: int, now: float) -> None:
        first = self._allowed is None
        if not first and (now - self._stepped_at < STEP_S or lag < self._lag_then):
            if lag < self._lag_then and now - self._stepped_at >= STEP_S:
                self._stepped_at, self._lag_then = now, lag
            return
        held = places if self._allowed is None else min(places, self._allowed)
        self._allowed = held // 2
        self._stepped_at, self._lag_then = now, lag
