"""Waiting for what another thread, process or server does."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 60.0
"""Never met on a working system."""
INTERVAL_S = 0.005


def eventually(
    holds: Callable[[], bool], within_s: float = WAIT_S, interval_s: float = INTERVAL_S
) -> None:
    """Look until the condition holds.

    Raises:
        AssertionError: it has not come true within the time.
    """
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true within {within_s:g} s"
        time.sleep(interval_s)
