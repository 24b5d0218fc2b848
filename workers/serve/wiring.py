"""The services built from settings, on the caller's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.jpeg import as_jpeg
from pipeline.adapters.kafka.recorded.label_sets import LabelSetRecords
from pipeline.adapters.kafka.served.publisher import EventPublisher
from pipeline.adapters.kafka.watching.topics import KafkaTopics
from pipeline.adapters.label_files import fingerprint
from pipeline.events.served import ServedEvents
from pipeline.fetch import Attempts, Stores
from pipeline.ports import Clock, Encoder, Meter
from workers.label_sets import BeforeUse, LiveRules, load_scoring
from workers.serve.admission.keys import Keys
from workers.serve.admission.memory import KEYS_SHARE, MemoryBudget
from workers.serve.admission.rates import Rates
from workers.serve.admission.room import Depth, Room
from workers.serve.images import Images
from workers.serve.live.cluster import ThisReplica, values_in
from workers.serve.live.letters import Letters
from workers.serve.live.live import Live, Stream, is_stream_configured
from workers.serve.live.pictures import Pictures
from workers.serve.live.replays import Replays
from workers.serve.live.watch import Watch
from workers.serve.prompts import Prompts
from workers.serve.publishing.records import Records
from workers.serve.services import Services
from workers.serve.standing import Standing
from workers.settings.loading import Settings
from workers.stages import looking_by
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
        stores = await open_stores(settings) if settings.has_stores else Stores(())
        owned.push_async_callback(stores.close)
        seeing = await owned.enter_async_context(
            looking_by(settings, encoder, meter, min_share=settings.priority.min_share)
        )
        rules = await asyncio.to_thread(
            LiveRules,
            partial(
                load_scoring,
                settings.label_sets,
                encoder.model,
                seeing.batcher.encode_texts,
                *_before_use(settings),
            ),
            partial(fingerprint, settings.label_sets.paths),
            meter,
        )
        if settings.label_sets.reload_interval_s:
            rules.watch(settings.label_sets.reload_interval_s)
            owned.push_async_callback(asyncio.to_thread, rules.close)
        publisher = None
        if policy.publish == "kafka":
            publisher = EventPublisher(settings.kafka, settings.delivery, policy.topic)
            owned.push_async_callback(asyncio.to_thread, publisher.close)
        prompts = Prompts(encoder, seeing.batcher.encode_texts, settings.serve)
        owned.push_async_callback(prompts.close)
        attempts = Attempts(stores, settings.fetch, clock)
        standing = Standing()
        # On a CPU the encoder's largest batch is that of one lane.
        lane = min(settings.batch.largest, encoder.largest)
        rates = Rates(clock, replicas)
        depth = Depth(
            encoder.lanes * lane,
            max(QUEUED_BATCHES, encoder.parallel) * lane,
            policy.max_wait_s,
            seeing.batcher.wait_s,
        )
        room = Room(depth, rates, meter)
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
            images=Images(seeing.look, attempts, meter, settings.serve.deadline_s),
            prompts=prompts,
            rules=rules,
            keys=keys,
            rates=rates,
            room=room,
            memory=MemoryBudget(
                policy.max_memory_mib * MIB, meter, 1.0 if keys is None else KEYS_SHARE
            ),
            standing=standing,
            live=live,
            cluster=ThisReplica(
                encoder.model, standing, room, values, settings.endpoints.discovery_file
            ),
            clock=clock,
            meter=meter,
            records=Records(publisher, ServedEvents(settings.events, version("clipstream"))),
        )


def _before_use(settings: Settings) -> tuple[BeforeUse, ...]:
    """Label sets that events name are published before they are used."""
    if settings.serve.publish != "kafka":
        return ()
    return (LabelSetRecords(settings.kafka, version("clipstream")).publish,)


def _stream(settings: Settings, clock: Clock) -> Stream | None:
    if not is_stream_configured(settings):
        return None
    topics = KafkaTopics(settings.kafka, settings.delivery)
    return Stream(Watch(topics, clock), Letters(topics, clock), Replays(topics, clock))
