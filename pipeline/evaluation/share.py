"""Shares of counts, with the interval in which the true share may lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959964
"""Standard deviations of a normal distribution that hold 95 % of it."""


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``of``, with the bounds of its 95 % interval (Wilson's score interval). The share
    and its bounds are None if there is nothing to divide by."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        return self.hits / self.of if self.of else None

    @property
    def low(self) -> float | None:
        found = self._bounds()
        return None if found is None else found[0]

    @property
    def high(self) -> float | None:
        found = self._bounds()
        return None if found is None else found[1]

    def _bounds(self) -> tuple[float, float] | None:
        return wilson(self.hits, self.of, Z_95) if self.of else None


def wilson(hits: int, of: int, z: float) -> tuple[float, float]:
    """The bounds of Wilson's score interval, ``z`` standard deviations to each side; ``of`` is
    above 0. Wilson (1927): unlike the usual normal interval, it holds near 0 and 1 too."""
    share, square = hits / of, z * z
    middle = share + square / (2 * of)
    half = z * math.sqrt((share * (1 - share) + square / (4 * of)) / of)
    scale = 1 + square / of
    low = 0.0 if hits == 0 else (middle - half) / scale
    high = 1.0 if hits == of else (middle + half) / scale
    return low, high
