"""Time that jumps: an event loop that moves to its next timer instead of waiting for it.

For code that waits by ``asyncio.timeout`` and the like, which read the loop's time and no clock.
Code that takes its time from a clock alone is tested with ``pipeline.adapters.memory.clock``.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("every task waits and no timer is set: this would hang for good")
        self.now += timeout
        return super().select(0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in which an hour of sleeping takes no time. Threads cannot be waited for."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(main)


class LoopClock:
    """Implements ``pipeline.ports.Clock`` with the time of the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
