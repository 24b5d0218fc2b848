"""The services built from settings, on the caller's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.jpeg import as_jpeg
from pipeline.adapters.kafka.watching.topics import KafkaTopics
from pipeline.adapters.label_files import fingerprint
from pipeline.encode.batching import lane_share
from pipeline.fetch import Attempts, Stores
from pipeline.ports import Clock, Encoder, Meter
from workers.label_sets import LiveRules, load_scoring
from workers.serve.admission.memory import MemoryBudget
from workers.serve.admission.room import Room
from workers.serve.images import Images
from workers.serve.live.cluster import ThisReplica, values_in
from workers.serve.live.letters import Letters
from workers.serve.live.live import Live, Stream, is_stream_configured
from workers.serve.live.pictures import Pictures
from workers.serve.live.replays import Replays
from workers.serve.live.watch import Watch
from workers.serve.prompts import Prompts
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
        attempts = Attempts(stores, settings.fetch, clock)
        standing = Standing()
        largest = min(settings.batch.largest, encoder.largest)
        lane = lane_share(largest, encoder.parallel)
        room = Room(encoder.lanes * lane + QUEUED_BATCHES * largest)
        values = partial(values_in, meter)
        live = Live(
            stream=_stream(settings, clock),
            pictures=Pictures(attempts, seeing.decoder, as_jpeg),
            geometry=encoder.geometry,
            changed_at=lambda: rules.changed_at,
            values=values,
        )
        if live.stream is not None:
            owned.push_async_callback(live.stream.watch.close)
        yield Services(
            settings=settings,
            model=encoder.model,
            images=Images(seeing.look, attempts),
            prompts=Prompts(encoder, seeing.batcher.encode_texts, settings.serve),
            rules=rules,
            room=room,
            memory=MemoryBudget(settings.serve.max_memory_mib * MIB),
            standing=standing,
            live=live,
            cluster=ThisReplica(
                encoder.model, standing, room, values, settings.endpoints.discovery_file
            ),
            clock=clock,
            meter=meter,
        )


def _stream(settings: Settings, clock: Clock) -> Stream | None:
    if not is_stream_configured(settings):
        return None
    topics = KafkaTopics(settings.kafka, settings.delivery)
    return Stream(Watch(topics, clock), Letters(topics, clock), Replays(topics, clock))
