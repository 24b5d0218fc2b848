"""Pictures of sampled objects: read anew from their store, decoded in the sandbox, made small."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Collection, Mapping

from pipeline import metrics
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.jpeg import as_jpeg
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill.report.samples import SampledObject
from pipeline.errors import Reject, Retry
from pipeline.fetch import Attempts
from pipeline.records import ImageRef
from workers.decoding import decoding
from workers.settings.loading import Settings
from workers.stores import open_stores

log = logging.getLogger(__name__)

EDGE_PX = 160
AT_ONCE = 4


def thumbnails(
    settings: Settings, objects: Collection[SampledObject]
) -> Mapping[SampledObject, str]:
    """Data URIs of the objects that can still be read as they were. Blocks.

    Raises:
        Halt: a store has no credentials, or images cannot be decoded here.
    """
    return asyncio.run(_thumbnails(settings, objects))


async def _thumbnails(
    settings: Settings, objects: Collection[SampledObject]
) -> dict[SampledObject, str]:
    stores = await open_stores(settings)
    attempts = Attempts(stores, settings.fetch, SystemClock())
    meter = PrometheusMeter(metrics.BACKFILL_WORKER)
    places = asyncio.Semaphore(AT_ONCE)
    made: dict[SampledObject, str] = {}
    try:
        async with decoding(
            settings.decode, meter, max_file_bytes=settings.fetch.max_bytes
        ) as decoder:

            async def make(wanted: SampledObject) -> None:
                ref = ImageRef(
                    wanted.bucket, wanted.key, (), version_id=wanted.version_id, etag=wanted.etag
                )
                async with places:
                    try:
                        fetched = await attempts.read(ref)
                        whole = await decoder.whole(fetched.body, EDGE_PX, fetched.content_encoding)
                    except (Reject, Retry) as failure:
                        log.info("no picture of %s: %s", wanted.uri, failure)
                        return
                    body = await asyncio.to_thread(as_jpeg, whole.pixels)
                    made[wanted] = "data:image/jpeg;base64," + base64.b64encode(body).decode()

            async with asyncio.TaskGroup() as group:
                for each in objects:
                    group.create_task(make(each))
    finally:
        await stores.close()
    return made
