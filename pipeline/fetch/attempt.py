"""One attempt to read an object: from an allowed bucket, under the size limit, within a deadline.

No retry, no breaker, no bound on memory. A caller that cannot wait for a store uses this directly.
``Fetcher`` adds patience.
"""

from __future__ import annotations

import asyncio

from pipeline.errors import Retry
from pipeline.fetch.policy import FetchPolicy
from pipeline.fetch.stores import Stores
from pipeline.ports import Clock, OnAnswer
from pipeline.records import ImageRef, ObjectBody


class Attempts:
    """Makes single attempts on the stores. Belongs to one event loop."""

    def __init__(self, stores: Stores, policy: FetchPolicy, clock: Clock) -> None:
        self.stores = stores
        self.policy = policy
        self.clock = clock

    async def read(self, ref: ImageRef, on_answer: OnAnswer | None = None) -> ObjectBody:
        """Ask the reference's store once, for at most ``fetch.deadline_s / 2``. ``on_answer`` is
        called once the store has begun to answer; the time that it takes does not count.

        Raises:
            Reject: ``fetch.bucket_not_allowed``, or as ``ObjectStore.fetch``: another attempt would
                end alike.
            Retry, StoreDenied: ``fetch.timeout``, or as ``ObjectStore.fetch``: another attempt may
                succeed.
            Halt, MemoryError, OSError: as ``ObjectStore.fetch``.
        """
        store = self.stores.of(ref)
        begun = self.clock.monotonic()
        limit_s = self.policy.attempt_s
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s) as limit:

                async def answered(size_bytes: int | None = None) -> None:
                    if on_answer is not None:
                        took_s = self.clock.monotonic() - begun
                        limit.reschedule(None)
                        await on_answer(size_bytes)
                        limit.reschedule(loop.time() + limit_s - took_s)

                return await store.objects.fetch(
                    ref.bucket,
                    ref.full_key,
                    version_id=ref.version_id,
                    etag=ref.etag,
                    max_bytes=self.policy.max_bytes,
                    on_answer=answered,
                )
        except TimeoutError:
            raise Retry(
                "fetch.timeout",
                f"fetch: the object did not arrive within {limit_s:.1f} s "
                f"(fetch.deadline_s = {self.policy.deadline_s:g}); look at the store's latency",
            ) from None
