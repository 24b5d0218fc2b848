"""When to try again after failures, with growing, jittered waits."""

from __future__ import annotations

import random

from pipeline.ports import Clock

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0


class Backoff:
    """Doubles its wait with every failure in a row, up to a limit; a success forgets them.

    The wait is drawn evenly from the upper half of its range, so that workers which failed together
    do not come back together.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        first_s: float = FIRST_WAIT_S,
        longest_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0
        self._at = 0.0

    def due(self) -> bool:
        """Whether the wait after the last failure is over."""
        return self._clock.monotonic() >= self._at

    def failed(self) -> float:
        """Note a failure; returns the seconds to wait."""
        limit_s = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        wait_s = self._rng.uniform(limit_s / 2, limit_s)
        self._at = self._clock.monotonic() + wait_s
        return wait_s

    def succeeded(self) -> None:
        self._failures = 0
        self._at = 0.0
