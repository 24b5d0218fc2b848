"""Keeps a worker within its share of the job's rate."""

from __future__ import annotations

import asyncio

from pipeline.backfill.running.manners import UNLIMITED, Rates

BURST_S = 1.0
"""A bucket holds the tokens of this time at most."""


class Pacer:
    """Two buckets of tokens, one of objects and one of bytes. Belongs to one event loop.

    An object may begin while no bucket is in debt, and then takes what it needs: an object larger
    than a second's share still passes, and the others wait for it longer. Those that wait go in
    order.
    """

    def __init__(self) -> None:
        self._objects = _Bucket(None)
        self._bytes = _Bucket(None)
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._rates = UNLIMITED

    def follow(self, rates: Rates) -> None:
        """Change the share. Those that wait judge anew."""
        self._rates = rates
        self._objects.rate, self._bytes.rate = rates.objects_per_s, rates.bytes_per_s
        self._changed.set()

    async def begin(self, size_bytes: int | None) -> None:
        """Wait until an object may be read. ``size_bytes`` is None if it is not known; then
        ``charge`` is called once it is."""
        if self._rates == UNLIMITED and not self._turn.locked():
            return
        async with self._turn:
            while (wait_s := max(self._objects.wait_s(), self._bytes.wait_s())) > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue
            self._objects.take(1)
            self._bytes.take(size_bytes or 0)

    def charge(self, size_bytes: int) -> None:
        """An object whose size was not known has had so many bytes."""
        self._bytes.take(size_bytes)


class _Bucket:
    """``rate`` tokens a second; None: as many as are asked for."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._tokens = 0.0
        self._at: float | None = None

    @property
    def rate(self) -> float | None:
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._fill()
        if rate is None or self._rate is None:
            self._tokens, self._at = 0.0, None
        self._rate = rate

    def wait_s(self) -> float:
        """Seconds until there is no debt."""
        if self._rate is None:
            return 0.0
        self._fill()
        # Less than a token short of nothing is rounding: the timer has ended.
        return 0.0 if self._tokens > -1e-6 else -self._tokens / self._rate

    def take(self, tokens: float) -> None:
        if self._rate is not None:
            self._fill()
            self._tokens -= tokens

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._rate is not None and self._at is not None:
            self._tokens = min(self._rate * BURST_S, self._tokens + self._rate * (now - self._at))
        self._at = now
