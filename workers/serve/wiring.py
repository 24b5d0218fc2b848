"""The services built from settings, on the caller's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.label_files import fingerprint
from pipeline.encode.batching import lane_share
from pipeline.fetch import Attempts, Stores
from pipeline.ports import Encoder, Meter
from workers.label_sets import LiveRules, load_scoring
from workers.serve.admission.keys import Keys
from workers.serve.admission.memory import MemoryBudget
from workers.serve.admission.rates import Rates
from workers.serve.admission.room import Depth, Room
from workers.serve.images import Images
from workers.serve.prompts import Prompts
from workers.serve.services import Services, Standing
from workers.settings.loading import Settings
from workers.stages import looking
from workers.stores import open_stores

MIB = 1024 * 1024
QUEUED_BATCHES = 2


@asynccontextmanager
async def serving(
    settings: Settings,
    encoder: Encoder,
    meter: Meter,
    replicas: Callable[[], int] = lambda: 1,
) -> AsyncIterator[Services]:
    """The services for the time of the block. ``replicas`` says how many replicas share the load:
    each grants its part of a key's rate. The meter registers ``SERVE_REPLICA``.

    Raises:
        Halt: as ``workers.stages.looking``, ``workers.stores.open_stores``,
            ``workers.label_sets.load_scoring`` and ``Keys``.
    """
    clock = SystemClock()
    policy = settings.serve
    async with AsyncExitStack() as owned:
        keys = None
        if policy.keys is not None:
            keys = Keys(policy.keys, clock, meter)
            keys.watch(policy.keys_reload_interval_s)
            owned.push_async_callback(asyncio.to_thread, keys.close)
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
        prompts = Prompts(encoder, seeing.batcher.encode_texts, settings.serve)
        owned.push_async_callback(prompts.close)
        largest = min(settings.batch.largest, encoder.largest)
        lane = lane_share(largest, encoder.parallel)
        rates = Rates(clock, replicas)
        depth = Depth(
            encoder.lanes * lane,
            QUEUED_BATCHES * largest,
            policy.max_wait_s,
            seeing.batcher.wait_s,
        )
        yield Services(
            settings=settings,
            model=encoder.model,
            images=Images(
                seeing.look,
                Attempts(stores, settings.fetch, clock),
                meter,
                settings.serve.deadline_s,
            ),
            prompts=prompts,
            rules=rules,
            keys=keys,
            rates=rates,
            room=Room(depth, rates, meter),
            memory=MemoryBudget(policy.max_memory_mib * MIB, meter),
            standing=Standing(),
            clock=clock,
            meter=meter,
        )
