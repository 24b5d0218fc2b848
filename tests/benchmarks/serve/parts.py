"""The parts of the benchmark of `clipstream serve`, by name and in their order."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.serve import end_to_end, overhead, overload, rivals, siege

Part = Callable[[Path, float | None, Callable[[str], None]], list[Figure]]
"""Measures in a folder, for the seconds of each load if they are given; tells of its progress."""

PARTS: dict[str, Part] = {
    "overhead": overhead.measure,
    "end-to-end": end_to_end.measure,
    "rivals": rivals.measure,
    "overload": overload.measure,
    "siege": siege.measure,
}


def measure(
    names: Sequence[str] = tuple(PARTS),
    seconds: float | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Figure]:
    """The parts in turn; some fifteen minutes for all of them."""
    figures = []
    for name in names:
        begun = time.monotonic()
        tell(f"-- {name}")
        with tempfile.TemporaryDirectory(prefix="clipstream-serve-") as folder:
            figures += PARTS[name](Path(folder), seconds, tell)
        tell(f"-- {name}: {time.monotonic() - begun:.0f} s")
    return figures
