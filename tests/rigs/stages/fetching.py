"""What tests of the fetch stage share: a scripted store, and a fetcher on it in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Reject, Retry, StoreDenied
from pipeline.fetch import Attempts, Fetcher, FetchPolicy, Store, Stores
from pipeline.metrics import IMAGE_METRICS, STORE_METRICS
from pipeline.ports import Meter, ObjectStore
from pipeline.records import ImageRef, ObjectBody
from pipeline.retry import BreakerPolicy, RetryPolicy
from tests.rigs.virtual_time import LoopClock

POLICY = FetchPolicy(max_bytes=1000, deadline_s=30.0, max_refusals=3, max_open_objects=8)
RETRY = RetryPolicy(first_wait_s=0.2, longest_wait_s=5.0)
BREAKER = BreakerPolicy(failures=4, open_s=5.0)
HOUR_S = 3600.0


Behaviour = Callable[[], Awaitable[bytes]]


class ScriptedStore:
    """Serves every object in ``latency_s``, but for those with a behaviour of their own, and but
    for ``outage``, which comes before all."""

    def __init__(self) -> None:
        self.latency_s = 0.1
        self.scripts: dict[str, Behaviour] = {}
        self.dripping: set[str] = set()
        """Objects that begin to arrive and never end."""
        self.refused_bucket = ""
        self.outage: Behaviour | None = None
        self.asked: list[str] = []
        self.wanted: list[tuple[str | None, str | None, int]] = []
        self.under_way = 0
        self.most_under_way = 0

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: Callable[[], Awaitable[None]],
    ) -> ObjectBody:
        self.asked.append(key)
        self.wanted.append((version_id, etag, max_bytes))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            refused = refuse if bucket == self.refused_bucket else None
            behaviour = self.outage or refused or self.scripts.get(key, self.serve)
            if key in self.dripping and not self.outage:
                await on_answer()
                await asyncio.sleep(HOUR_S)
            body = await behaviour()
            await on_answer()
            return ObjectBody(body, etag, version_id)
        finally:
            self.under_way -= 1

    async def serve(self) -> bytes:
        await asyncio.sleep(self.latency_s)
        return b"image"

    async def close(self) -> None: ...


async def break_off() -> bytes:
    await asyncio.sleep(0.05)
    raise Retry("fetch.failed", "s3: the body broke off")


async def refuse() -> bytes:
    await asyncio.sleep(0.05)
    raise StoreDenied("fetch.forbidden", "s3: the store answered 403 AccessDenied")


async def hang() -> bytes:
    await asyncio.sleep(HOUR_S)
    raise AssertionError("nobody waits this long")


async def miss() -> bytes:
    await asyncio.sleep(0.05)
    raise Reject("fetch.not_found", "s3: the store answered 404 NoSuchKey")


OUTAGES = pytest.mark.parametrize("outage", [break_off, refuse, hang])
"""Each way in which a whole store may fail."""


def reference(key: str, bucket: str = "images") -> ImageRef:
    return ImageRef(bucket, key, ("general",), version_id="v1", etag="e1")


def store_of(
    objects: ObjectStore,
    allows: Callable[[str], bool] = lambda _: True,
    *,
    name: str = "s3",
    scheme: str = "s3",
) -> Store:
    """A store as the settings would have it: named, and behind an allow-list."""
    section = name if name == "s3" else f"stores[{name}]"
    return Store(name, scheme, allows, f"{section}.allowed_buckets", objects)


def fetcher_of(
    stores: Sequence[Store], meter: Meter, policy: FetchPolicy = POLICY, min_share: float = 0.0
) -> Fetcher:
    """A fetcher in virtual time."""
    return Fetcher(
        Attempts(Stores(stores), policy, LoopClock()),
        retry=RETRY,
        breaker=BREAKER,
        random=lambda: 0.5,
        meter=meter,
        min_share=min_share,
    )


class Bench:
    """A fetcher on a scripted store."""

    def __init__(
        self, policy: FetchPolicy = POLICY, *, allows_all: bool = False, min_share: float = 0.0
    ) -> None:
        self.store = ScriptedStore()
        self.meter = MemoryMeter((*IMAGE_METRICS, *STORE_METRICS))
        store = store_of(self.store, lambda bucket: allows_all or bucket == "images")
        self.fetcher = fetcher_of([store], self.meter, policy, min_share)

    def start(self, *keys: str) -> list[asyncio.Task[ObjectBody]]:
        return [asyncio.create_task(self.fetch(key), name=key) for key in keys]

    async def give_up(self, tasks: list[asyncio.Task[ObjectBody]]) -> None:
        """Their partition is revoked."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fetch(self, key: str, bucket: str = "images", level: int = 0) -> ObjectBody:
        async with self.fetcher.fetch(reference(key, bucket), level) as body:
            return body

    def available(self) -> bool:
        return self.fetcher.available

    async def rejection(self, key: str) -> Reject:
        with pytest.raises(Reject) as caught:
            await self.fetch(key)
        return caught.value

    async def stream(self, seconds: float, every_s: float = 0.5) -> None:
        """Other references go by."""
        for number in range(int(seconds / max(every_s, 0.1))):
            await self.fetch(f"passing-{number}")
            await asyncio.sleep(every_s)


def now() -> float:
    return asyncio.get_running_loop().time()
