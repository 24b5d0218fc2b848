"""A clock that is moved by hand."""

from __future__ import annotations

import asyncio


class HandClock:
    """Implements ``pipeline.ports.Clock``. Time stands still until a caller sets ``now``, which any
    thread may do. Sleepers wake up when their time has come."""

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
            if due <= now:
                sleeper.get_loop().call_soon_threadsafe(_wake, sleeper)

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        entry = (self._now + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(entry)
        try:
            await entry[1]
        finally:
            self._sleepers.remove(entry)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
