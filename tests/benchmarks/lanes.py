"""Measures calls per second of a function that several threads (lanes) call at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def calls_per_second(call: Callable[[], object], lanes: int, seconds: float) -> float:
    """Of ``lanes`` threads that each make one call after the other; a call is not cut short."""
    begun = time.monotonic()

    def work(_: int) -> float:
        calls = 0
        while (taken := time.monotonic() - begun) < seconds:
            call()
            calls += 1
        return calls / taken

    with ThreadPoolExecutor(lanes) as threads:
        return sum(threads.map(work, range(lanes)))
