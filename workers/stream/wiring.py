"""The stream worker built from settings: its composition root."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from importlib.metadata import version

from pipeline import metrics
from pipeline.adapters.clip.watched import WatchedEncoder
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.kafka.recorded.label_sets import LabelSetRecords
from pipeline.adapters.kafka.stream import KafkaStream
from pipeline.adapters.label_files import fingerprint
from pipeline.adapters.opentelemetry.policy import require_tracing
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.commit.budget import FailureBudget
from pipeline.events import EventBuilder, EventContext
from pipeline.ports import Encoder, Meter, Tracer
from pipeline.records import OutputTopic
from workers.endpoints.identity import STREAM, EndpointId
from workers.endpoints.worker import MetricsEndpoint
from workers.event_loop import EventLoopThread
from workers.instruments import Instruments
from workers.known import knowing
from workers.label_sets import LiveRules, load_rules
from workers.node_checks import require_node
from workers.settings.loading import Settings
from workers.stages import Stages, load_encoder, stages, tell_model
from workers.stream.commit_gate import CommitGate
from workers.stream.drift import DriftWatch
from workers.stream.intake import MIB
from workers.stream.overload import OverloadWatch
from workers.stream.trials import StageTrials
from workers.stream.worker import Images, StreamPolicy, StreamWorker

log = logging.getLogger(__name__)

START_S = 120.0
"""Longest wait for what starts on the event loop. Decoder processes take most of it."""
CLOSE_S = 15.0


class BuiltStreamWorker:
    """A stream worker with everything it owns. ``close`` releases it in reverse order."""

    def __init__(self, worker: StreamWorker, metrics_port: int | None, owned: ExitStack) -> None:
        self.worker = worker
        self.metrics_port = metrics_port
        self._owned = owned

    def close(self) -> None:
        self._owned.close()


def member_of(settings: Settings, slot: int) -> Member:
    kafka = settings.kafka
    return Member(kafka.transactional_id_prefix, kafka.group, settings.instance, slot)


def endpoint_of(member: Member) -> EndpointId:
    return EndpointId(STREAM, member.instance, member.slot, {"group": member.group})


def build_stream_worker(
    settings: Settings, slot: int, load: Callable[[Settings], Encoder] = load_encoder
) -> BuiltStreamWorker:
    """Load the model, start the decoders and join the stream. Blocks for seconds to minutes.
    ``load`` returns the model.

    Raises:
        Halt: a person must act.
        Retry: the broker cannot be reached.
    """
    with ExitStack() as owned:
        prometheus = PrometheusMeter(metrics.STREAM_WORKER)
        meter = OverloadWatch(prometheus, SystemClock())
        member = member_of(settings, slot)
        endpoint = MetricsEndpoint(prometheus.registry, settings.endpoints, endpoint_of(member))
        owned.callback(endpoint.close)
        log.info("metrics on port %d", endpoint.port)
        require_node(settings)
        tracer = owned.enter_context(tracer_of(settings, member, meter))
        with KafkaAdmin(settings.kafka) as admin:
            facts = admin.facts()
        encoder = WatchedEncoder(load(settings), SystemClock())
        known = owned.enter_context(knowing(settings, encoder.model, meter))
        loop = EventLoopThread(f"images-{slot}")
        owned.callback(loop.close)
        path = owned.enter_context(
            loop.holding(stages(settings, encoder, meter, known=known), START_S, CLOSE_S)
        )
        meter.follow(path.fetcher)
        reference = settings.label_sets.drift_reference
        drift = DriftWatch(reference, encoder.model, meter)
        publish = LabelSetRecords(settings.kafka, version("clipstream")).publish
        rules = LiveRules(
            lambda: drift.over(
                load_rules(settings, encoder.model, path.batcher.encode_texts, publish)
            ),
            partial(
                fingerprint,
                (*settings.label_sets.paths, *([] if reference is None else [reference])),
            ),
            meter,
        )
        if settings.label_sets.reload_interval_s:
            rules.watch(settings.label_sets.reload_interval_s)
            owned.callback(rules.close)
        stream = KafkaStream(
            settings.kafka,
            settings.delivery,
            member,
            facts.topic_ids,
        )
        context = EventContext(
            facts.cluster_id, settings.kafka.group, facts.topic_ids, version("clipstream")
        )
        worker = StreamWorker(
            stream,
            Images(loop, path.flow, path.fetcher, encoder.call_age_s),
            rules,
            EventBuilder(
                context,
                settings.events,
                actions=OutputTopic.ACTIONS in settings.kafka.output_topics.in_use,
            ),
            _gate(settings, path, loop, meter),
            _policy(settings),
            Instruments(SystemClock(), meter, random.Random(), tracer),  # noqa: S311 - jitter
        )
        tell_model(meter, encoder.model)
        return BuiltStreamWorker(worker, endpoint.port, owned.pop_all())
    raise AssertionError("unreachable: nothing owned here suppresses exceptions")


def tracer_of(settings: Settings, member: Member, meter: Meter) -> AbstractContextManager[Tracer]:
    """The worker's tracer, whose last spans are sent at the end of the block.

    Raises:
        Halt: ``tracing.*``: a package is missing, or a variable cannot be used.
    """
    if not settings.tracing.enabled:
        return nullcontext(Tracer())
    require_tracing(settings.tracing)
    # Imported here because its packages are an optional extra.
    from pipeline.adapters.opentelemetry.exporting import tracing

    service = {
        "service.name": "clipstream",
        "service.version": version("clipstream"),
        "service.instance.id": f"{member.instance}/{member.slot}",
    }
    return tracing(service, member.group, SystemClock(), meter)


def _policy(settings: Settings) -> StreamPolicy:
    delivery = settings.delivery
    return StreamPolicy(
        settings.references,
        settings.flow,
        settings.priority,
        delivery.order,
        delivery.commit_interval_s,
        delivery.max_outcomes_per_commit,
        delivery.max_mib_per_commit * MIB,
    )


def _gate(settings: Settings, path: Stages, loop: EventLoopThread, meter: Meter) -> CommitGate:
    return CommitGate(
        FailureBudget(settings.failure_budget),
        settings.failure_budget.hold_s,
        StageTrials(path.look, path.fetcher, loop, settings.decode.formats),
        clock=SystemClock(),
        meter=meter,
    )
