"""The services built from settings, on the caller's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.served.publisher import EventPublisher
from pipeline.adapters.label_files import fingerprint
from pipeline.encode.batching import lane_share
from pipeline.events.served import ServedEvents
from pipeline.fetch import Attempts, Stores
from pipeline.ports import Encoder, Meter
from workers.label_sets import LiveRules, load_scoring
from workers.serve.admission.memory import MemoryBudget
from workers.serve.admission.room import Room
from workers.serve.images import Images
from workers.serve.prompts import Prompts
from workers.serve.records import Records
from workers.serve.services import Services, Standing
from workers.settings.loading import Settings
from workers.stages import looking
from workers.stores import open_stores

MIB = 1024 * 1024
QUEUED_BATCHES = 2


@asynccontextmanager
async def serving(settings: Settings, encoder: Encoder, meter: Meter) -> AsyncIterator[Services]:
    """The services for the time of the block.

    Raises:
        Halt: as ``workers.stages.looking``, ``workers.stores.open_stores`` and
            ``workers.label_sets.load_scoring``.
    """
    clock = SystemClock()
    async with AsyncExitStack() as owned:
        stores = await open_stores(settings) if settings.s3_stores else Stores(())
        owned.push_async_callback(stores.close)
        seeing = await owned.enter_async_context(
            looking(
                encoder,
                meter,
                settings.decode,
                settings.batch,
                dtype=settings.events.embedding_dtype,
                max_file_bytes=settings.fetch.max_bytes,
                min_share=settings.priority.min_share,
            )
        )
        rules = await asyncio.to_thread(
            LiveRules,
            partial(load_scoring, settings.label_sets, encoder.model, seeing.batcher.encode_texts),
            partial(fingerprint, settings.label_sets.paths),
            meter,
        )
        if settings.label_sets.reload_interval_s:
            rules.watch(settings.label_sets.reload_interval_s)
            owned.push_async_callback(asyncio.to_thread, rules.close)
        records = None
        if settings.serve.publish == "kafka":
            publisher = EventPublisher(settings.kafka, settings.delivery, settings.serve.topic)
            owned.push_async_callback(asyncio.to_thread, publisher.close)
            records = Records(publisher, ServedEvents(settings.events, version("clipstream")))
        largest = min(settings.batch.largest, encoder.largest)
        lane = lane_share(largest, encoder.parallel)
        yield Services(
            settings=settings,
            model=encoder.model,
            images=Images(seeing.look, Attempts(stores, settings.fetch, clock)),
            prompts=Prompts(encoder, seeing.batcher.encode_texts, settings.serve),
            rules=rules,
            room=Room(encoder.lanes * lane + QUEUED_BATCHES * largest),
            memory=MemoryBudget(settings.serve.max_memory_mib * MIB),
            standing=Standing(),
            clock=clock,
            meter=meter,
            records=records,
        )
