"""The machine's clock."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements ``pipeline.ports.Clock``."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
