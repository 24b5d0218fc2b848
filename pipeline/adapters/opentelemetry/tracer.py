"""The spans of an image and of a commit.

An image has one span for itself and one below it for each stage. They are made when its outcome is
committed, so no trace tells of an outcome that nobody can see. Names of attributes are those of
OpenTelemetry's semantic conventions for messaging and Kafka, which are still in development.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import pairwise

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from pipeline.ports import UNTRACED, Clock, ImageTrace, Tracer
from pipeline.records import Origin, Partition

log = logging.getLogger(__name__)

SCOPE = "clipstream"
_NO_PARENT = Context()
"""Not the context of the calling thread, in which another library may have begun a span."""


class _Sampled(ImageTrace):
    """Notes when the image entered which stage. Its own span has begun."""

    def __init__(self, span: Span, clock: Clock) -> None:
        self.span = span
        self._clock = clock
        self.entered: list[tuple[str, float]] = []
        """Stages, each with its time on the monotonic clock."""
        self.code: str | None = None
        self.failed_stage: int | None = None

    def enter(self, stage: str) -> None:
        self.entered.append((stage, self._clock.monotonic()))

    def fail(self, code: str) -> None:
        self.code = code
        self.failed_stage = len(self.entered) - 1


class OpenTelemetryTracer(Tracer):
    """Makes spans of sampled images and of the commits that they are in. Thread-safe.

    ``sampling`` decides for the span of an image. Everything below such a span, and the commit, is
    made by ``recording``, whose sampler takes everything: the decision is made once.
    """

    def __init__(
        self, sampling: TracerProvider, recording: TracerProvider, group: str, clock: Clock
    ) -> None:
        """``group`` is the consumer group."""
        self._sampling = sampling.get_tracer(SCOPE)
        self._recording = recording.get_tracer(SCOPE)
        self._of_all = {"messaging.system": "kafka", "messaging.consumer.group.name": group}
        self._of_partition: dict[Partition, tuple[str, dict[str, str]]] = {}
        self._clock = clock
        self._broken = False

    def begin(self, origin: Origin) -> ImageTrace:
        if self._broken:
            return UNTRACED
        try:
            return self._begin(origin)
        except Exception:  # noqa: BLE001 - a defect in tracing must not stop the stream
            self._give_up()
            return UNTRACED

    def committed(self, traces: Iterable[ImageTrace], began_s: float) -> None:
        if self._broken:
            return
        try:
            outcomes = list(traces)
            if sampled := [trace for trace in outcomes if isinstance(trace, _Sampled)]:
                self._committed(sampled, began_s, len(outcomes))
        except Exception:  # noqa: BLE001 - as above
            self._give_up()

    def _begin(self, origin: Origin) -> ImageTrace:
        name, attributes = self._described(origin.position.partition)
        span = self._sampling.start_span(
            name,
            _parent(origin),
            SpanKind.CONSUMER,
            attributes,
            start_time=_ns(self._clock.time()),
        )
        if not span.get_span_context().trace_flags.sampled:
            return UNTRACED
        span.set_attribute("messaging.kafka.offset", origin.position.offset)
        span.set_attribute("clipstream.reference.index", origin.index)
        return _Sampled(span, self._clock)

    def _described(self, partition: Partition) -> tuple[str, dict[str, str]]:
        """Name and attributes of the spans of a partition's images, which a sampler may look at.
        Kept, because most of these spans are never made."""
        found = self._of_partition.get(partition)
        if found is None:
            found = (
                f"process {partition.topic}",
                {
                    **self._of_all,
                    "messaging.operation.type": "process",
                    "messaging.operation.name": "process",
                    "messaging.destination.name": partition.topic,
                    "messaging.destination.partition.id": str(partition.number),
                },
            )
            self._of_partition[partition] = found
        return found

    def _committed(self, sampled: Sequence[_Sampled], began_s: float, outcomes: int) -> None:
        ended_s = self._clock.monotonic()
        # Durations come from the monotonic clock, so that none is negative.
        epoch_s = self._clock.time() - ended_s
        commit = self._recording.start_span(
            "commit",
            _NO_PARENT,
            SpanKind.CLIENT,
            {
                **self._of_all,
                "messaging.operation.type": "settle",
                "messaging.operation.name": "commit",
                "clipstream.outcomes": outcomes,
            },
            # The SDK keeps as many as OTEL_SPAN_LINK_COUNT_LIMIT says (128), and counts the others.
            [Link(trace.span.get_span_context()) for trace in sampled],
            _ns(epoch_s + began_s),
        )
        commit.end(_ns(epoch_s + ended_s))
        for trace in sampled:
            self._end(trace, ended_s, epoch_s, commit.get_span_context())

    def _end(self, trace: _Sampled, ended_s: float, epoch_s: float, commit: SpanContext) -> None:
        below = set_span_in_context(trace.span, _NO_PARENT)
        moments = pairwise([*trace.entered, ("", ended_s)])
        for index, ((stage, entered_s), (_, left_s)) in enumerate(moments):
            span = self._recording.start_span(stage, below, start_time=_ns(epoch_s + entered_s))
            if index == trace.failed_stage:
                _mark(span, trace.code)
            span.end(_ns(epoch_s + left_s))
        trace.span.add_link(commit)
        _mark(trace.span, trace.code)
        trace.span.end(_ns(epoch_s + ended_s))

    def _give_up(self) -> None:
        self._broken = True
        log.exception("tracing: failed unexpectedly; this worker makes no more traces")


def _parent(origin: Origin) -> Context:
    """The sender's span. OpenTelemetry's propagator would check again what ``pipeline.references``
    has checked, which costs more than the decision."""
    if origin.traceparent is None:
        return _NO_PARENT
    _, trace, span, flags = origin.traceparent.split("-")
    state = None if origin.tracestate is None else TraceState.from_header([origin.tracestate])
    remote = SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16)), state)
    return set_span_in_context(NonRecordingSpan(remote), _NO_PARENT)


def _mark(span: Span, code: str | None) -> None:
    """``code`` is the dead letter's, or None for an image that was classified."""
    if code is not None:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR, code))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
