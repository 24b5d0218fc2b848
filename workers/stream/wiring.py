"""The composition root: the only place that picks adapters."""

from __future__ import annotations

import logging
import os
import random
import socket
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

from pipeline import metrics
from pipeline.adapters.clip.text_cache import CachedTexts
from pipeline.adapters.clip.watched import WatchedEncoder
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.adapters.label_files import fingerprint, load_label_sets
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.budget import FailureBudget
from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.encode.batching import Batcher
from pipeline.errors import Halt
from pipeline.events import EventBuilder, EventContext
from pipeline.fetch import Fetcher
from pipeline.flow import Flow
from pipeline.labels.label_set import LabelSet
from pipeline.labels.scoring import EncodeTexts, compile_label_sets
from pipeline.ports import Encoder, Meter
from pipeline.priority import Turns
from pipeline.records import ModelIdentity
from pipeline.references import parse
from pipeline.routes import Router
from workers.cluster.node_checks import require_node
from workers.endpoints import MetricsEndpoint
from workers.settings.loading import Settings
from workers.stores import fetching_of
from workers.stream.commit_bounds import CommitBounds
from workers.stream.commit_gate import CommitGate
from workers.stream.event_loop import EventLoopThread
from workers.stream.intake import MIB
from workers.stream.overload import OverloadWatch
from workers.stream.rules import LiveRules, Rules
from workers.stream.worker import StreamWorker

log = logging.getLogger(__name__)

VERSION = version("clipstream")
START_S = 120.0
"""Wait for what starts on the event loop: decoder processes, most of all."""
CLOSE_S = 15.0


class BuiltStreamWorker:
    """A stream worker with everything it owns; ``close`` releases it in reverse order."""

    def __init__(self, worker: StreamWorker, owned: ExitStack) -> None:
        self.worker = worker
        self._owned = owned

    def close(self) -> None:
        self._owned.close()


def member_of(settings: Settings, slot: int) -> Member:
    kafka = settings.kafka
    instance = kafka.instance or socket.gethostname()
    return Member(kafka.transactional_id_prefix, kafka.group, instance, slot)


def build_stream_worker(settings: Settings, slot: int) -> BuiltStreamWorker:
    """Load the model, start the decoders and join the stream. Blocks for seconds to minutes.

    Raises:
        Halt: a person must act.
        Retry: the broker cannot be reached.
    """
    with ExitStack() as owned:
        prometheus = PrometheusMeter()
        meter = OverloadWatch(prometheus, SystemClock())
        member = member_of(settings, slot)
        endpoint = MetricsEndpoint(prometheus.registry, settings.endpoints, member)
        owned.callback(endpoint.close)
        log.info("metrics on port %d", endpoint.port)
        require_node(settings)
        with KafkaAdmin(settings.kafka) as admin:
            facts = admin.facts()
        encoder = WatchedEncoder(load_encoder(settings), SystemClock())
        rules = LiveRules(
            partial(load_rules, settings, encoder.model, encoder.encode_texts),
            partial(fingerprint, settings.label_sets.paths),
            meter,
        )
        loop = EventLoopThread(f"images-{slot}")
        owned.callback(loop.close)
        stages = loop.submit(_start_stages(settings, encoder, meter, owned, loop)).result(START_S)
        if settings.label_sets.reload_interval_s:
            # Texts go through the batcher from here on: the model belongs to its thread.
            rules.watch(
                partial(load_rules, settings, encoder.model, stages.batcher.encode_texts),
                settings.label_sets.reload_interval_s,
            )
            owned.callback(rules.close)
        stream = KafkaStream(
            settings.kafka,
            settings.delivery,
            member,
            facts.topic_ids,
        )
        context = EventContext(facts.cluster_id, settings.kafka.group, facts.topic_ids, VERSION)
        worker = StreamWorker(
            stream,
            stages.flow,
            rules,
            EventBuilder(context, settings.events),
            loop,
            supply=stages.fetcher,
            encode_age_s=encoder.call_age_s,
            policy=settings.flow,
            priority=settings.priority,
            commit_interval_s=settings.delivery.commit_interval_s,
            bounds=CommitBounds(
                settings.delivery.max_outcomes_per_commit,
                settings.delivery.max_mib_per_commit * MIB,
            ),
            gate=_gate(settings, stages, loop, meter),
            clock=SystemClock(),
            meter=meter,
            rng=random.Random(),  # noqa: S311 - jitter, no secret
        )
        _tell_model(meter, encoder)
        return BuiltStreamWorker(worker, owned.pop_all())
    raise AssertionError("unreachable: nothing owned here suppresses exceptions")


class _Trials:
    """Implements ``workers.stream.commit_gate.Trials`` with the worker's own stages."""

    def __init__(self, stages: _Stages, loop: EventLoopThread, good_images: list[bytes]) -> None:
        self._stages = stages
        self._loop = loop
        self._good_images = good_images

    def good_images(self) -> Future[bool]:
        return self._loop.submit(self._stages.flow.classifies(self._good_images))

    def bucket(self, bucket: str) -> Future[bool]:
        return self._loop.submit(self._stages.fetcher.reads_from(bucket))


def _gate(settings: Settings, stages: _Stages, loop: EventLoopThread, meter: Meter) -> CommitGate:
    good_images = [GOOD_IMAGES[each] for each in settings.decode.formats]
    return CommitGate(
        FailureBudget(settings.failure_budget),
        settings.failure_budget.hold_s,
        _Trials(stages, loop, good_images),
        clock=SystemClock(),
        meter=meter,
    )


def load_encoder(settings: Settings) -> Encoder:
    """The configured model. Blocks for seconds; may download."""
    # torch's threads would spin while they wait for one another, on the processors that decoders
    # and clients want. OpenMP looks when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Here: torch and transformers take seconds to import, and the driver needs neither.
    from pipeline.adapters.clip.encoder import ClipEncoder

    return ClipEncoder.load(settings.model, settings.batch.largest)


def load_rules(settings: Settings, model: ModelIdentity, encode_texts: EncodeTexts) -> Rules:
    """The configured label sets, embedded by the model or by the cache of an earlier start, and
    the routes to them.

    Raises:
        Halt: a label set or a route is not valid, or not for this model.
    """
    policy = settings.label_sets
    label_sets, router = load_routes(settings)
    if policy.text_cache_dir is not None:
        encode_texts = CachedTexts(encode_texts, model, policy.text_cache_dir)
    return Rules(
        partial(parse, policy=settings.references, router=router),
        compile_label_sets(label_sets, encode_texts, model, policy.override_model_pin),
        {label_set.name: label_set.version for label_set in label_sets},
    )


def load_routes(settings: Settings) -> tuple[tuple[LabelSet, ...], Router]:
    """The configured label sets as their files say them, and the routes to them. Needs no model.

    Raises:
        Halt: a label set or a route is not valid, or there is none.
    """
    policy = settings.label_sets
    if not policy.paths:
        raise Halt(
            "label_set.none",
            "label_sets.paths: no label set is configured; name a file, for example "
            "deploy/examples/label-sets/moderation.yaml",
        )
    label_sets = load_label_sets(policy.paths)
    try:
        router = Router(settings.routes, [label_set.name for label_set in label_sets])
    except ValueError as error:
        raise Halt("settings.invalid", str(error)) from error
    return label_sets, router


class _Stages(NamedTuple):
    """What lives on the event loop."""

    fetcher: Fetcher
    batcher: Batcher
    flow: Flow


async def _start_stages(
    settings: Settings,
    encoder: Encoder,
    meter: Meter,
    owned: ExitStack,
    loop: EventLoopThread,
) -> _Stages:
    """What lives on the event loop, made there."""
    clock = SystemClock()
    min_share = settings.priority.min_share
    fetcher = fetching_of(settings, clock, meter)
    owned.callback(lambda: loop.submit(fetcher.close()).result(CLOSE_S))
    decoder = SandboxedDecoder(settings.decode, meter, max_file_bytes=settings.fetch.max_bytes)
    await decoder.start()
    owned.callback(lambda: loop.submit(decoder.close()).result(CLOSE_S))
    batcher = Batcher(encoder, settings.batch, clock, meter, min_share)
    owned.callback(lambda: loop.submit(batcher.close()).result(CLOSE_S))
    flow = Flow(
        fetcher,
        decoder,
        Turns(decoder.processes, min_share),
        batcher,
        model=encoder.model,
        geometry=encoder.geometry,
        decode_mode=settings.decode.mode,
        decode_crop=settings.decode.crop,
        embedding_dtype=settings.events.embedding_dtype,
        clock=clock,
        meter=meter,
    )
    return _Stages(fetcher, batcher, flow)


def _tell_model(meter: Meter, encoder: Encoder) -> None:
    model = encoder.model
    meter.set(
        metrics.MODEL_INFO,
        1,
        model=model.name,
        revision=model.revision,
        precision=model.precision,
        engine=model.engine,
        version=VERSION,
    )
