"""A clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class HandClock:
    """Implements ``pipeline.ports.Clock``. Time stands still until a caller sets ``now``, which any
    thread may do. Sleepers wake up when their time has come, which is counted from the call."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    @property
    def now(self) -> float:
        """Seconds, for both kinds of time."""
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self._now = now
        for due, sleeper in tuple(self._sleepers):
            if due <= now and not sleeper.done():
                sleeper.get_loop().call_soon_threadsafe(_wake, sleeper)

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> Awaitable[None]:
        if seconds <= 0:
            return asyncio.sleep(0)
        # A coroutine would begin to count with its first step. A caller who moves the time between
        # the call and that step would be overlooked.
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._now + seconds, sleeper)
        self._sleepers.append(entry)
        sleeper.add_done_callback(lambda _: self._sleepers.remove(entry))
        if entry[0] <= self._now:  # another thread has moved the time meanwhile
            _wake(sleeper)
        return sleeper


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
