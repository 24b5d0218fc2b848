"""Lines and areas of a page's charts, as paths of SVG.

Every chart is 100 wide and 100 high, whatever its size on the page; y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SIDE = 100.0


def bars(counts: Sequence[int]) -> str:
    """One bar a count. Heights are logarithmic, because most rows of most labels score near 0:
    without that, nothing else would be seen. A count of 1 is seen too."""
    most = max(counts, default=0)
    if not most:
        return ""
    width = SIDE / len(counts)
    drawn = []
    for place, count in enumerate(counts):
        if count:
            height = SIDE * math.log1p(count) / math.log1p(most)
            drawn.append(f"M{place * width:g} 100v{-height:.1f}h{width * 0.86:.2f}v{height:.1f}z")
    return "".join(drawn)


def area(values: Sequence[float]) -> str:
    """Steps of equal width, as high as their value; the largest one fills the height."""
    most = max(values, default=0.0)
    if not most:
        return ""
    width = SIDE / len(values)
    steps = "".join(f"V{SIDE - SIDE * value / most:.1f}h{width:.3f}" for value in values)
    return f"M0 100{steps}V100z"


def line(points: Sequence[tuple[float, float]]) -> str:
    """Through points whose coordinates are shares, 0 to 1, y upwards."""
    if not points:
        return ""
    return "M" + "L".join(_at(x, y) for x, y in points)


def between(points: Sequence[tuple[float, float, float]]) -> str:
    """The area between two lines: (x, lower y, upper y)."""
    if not points:
        return ""
    there = [_at(x, high) for x, _, high in points]
    back = [_at(x, low) for x, low, _ in reversed(points)]
    return "M" + "L".join(there + back) + "z"


def _at(x: float, y: float) -> str:
    return f"{SIDE * x:.1f} {SIDE - SIDE * y:.1f}"
