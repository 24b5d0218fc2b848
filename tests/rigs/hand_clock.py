"""Time in a test's hands."""

from __future__ import annotations


class HandClock:
    """Implements ``pipeline.ports.Clock``. Time moves only when a test sets it, or sleeps."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
