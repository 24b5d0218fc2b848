"""When to try again after failures, with growing, jittered waits."""

from __future__ import annotations

import random

from pipeline.ports import Clock
from pipeline.retry import RetryPolicy, wait_s

BROKER = RetryPolicy(first_wait_s=0.2, longest_wait_s=10.0)
"""Waits between attempts to reach a broker."""


class Backoff:
    """Waits longer after every failure in a row. A success resets the wait."""

    def __init__(self, clock: Clock, rng: random.Random, policy: RetryPolicy = BROKER) -> None:
        self._clock = clock
        self._rng = rng
        self._policy = policy
        self._failures = 0
        self._at = 0.0

    def due(self) -> bool:
        """Whether the wait after the last failure is over."""
        return self._clock.monotonic() >= self._at

    @property
    def due_at(self) -> float:
        """End of the wait after the last failure, on the monotonic clock. In the past without a
        failure."""
        return self._at

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def failed(self) -> float:
        """Note a failure; returns the seconds to wait."""
        self._failures += 1
        seconds = wait_s(self._failures, self._policy, self._rng.random)
        self._at = self._clock.monotonic() + seconds
        return seconds

    def succeeded(self) -> None:
        self._failures = 0
        self._at = 0.0
