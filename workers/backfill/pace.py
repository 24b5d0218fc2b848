"""How fast a worker is."""

from __future__ import annotations

import math
from collections import deque

WINDOW_S = 60.0
STEP_S = 1.0


class Pace:
    """Rows a second over the last minute."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, now: float, rows: int) -> None:
        """``rows`` have an outcome by ``now``, counted from the start."""
        noted = self._noted
        if len(noted) > 1 and now - noted[-2][0] < STEP_S:
            noted.pop()
        noted.append((now, rows))
        while now - noted[0][0] > WINDOW_S and len(noted) > 2:
            noted.popleft()

    def seconds_for(self, rows: int) -> float:
        """Seconds that so many rows take; infinite while nothing is known."""
        if rows <= 0:
            return 0.0
        (since, before), (until, now) = self._noted[0], self._noted[-1]
        done = now - before
        return rows * (until - since) / done if done > 0 else math.inf
