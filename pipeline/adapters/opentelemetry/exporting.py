"""Sends spans to a receiver over OTLP, as OpenTelemetry's standard variables say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from pipeline.adapters.opentelemetry.tracer import OpenTelemetryTracer
from pipeline.errors import Halt
from pipeline.metrics import TRACE_SPANS, TRACE_SPANS_EXPORTED
from pipeline.ports import Check, CheckResult, Clock, Meter

log = logging.getLogger(__name__)

CLOSE_S = 3.0
"""Longest wait for the last spans when a worker ends. The SDK itself would wait 30 s."""


@contextmanager
def tracing(
    service: Mapping[str, str], group: str, clock: Clock, meter: Meter
) -> Iterator[OpenTelemetryTracer]:
    """A tracer whose spans are sent in the background. ``service`` describes this process, by the
    names of OpenTelemetry's resource attributes; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME go
    before it. ``group`` is the consumer group.

    The end of the block waits up to ``CLOSE_S`` until the last spans are sent.

    Raises:
        Halt: ``tracing.invalid``: a standard variable has a value that cannot be used.
    """
    resource = Resource.create({**service, **OTELResourceDetector().detect().attributes})
    try:
        exporter = _Counted(OTLPSpanExporter(), meter)
        sending = BatchSpanProcessor(exporter)
    except (ValueError, RuntimeError) as error:
        raise Halt(
            "tracing.invalid",
            f"tracing: {error}; correct the variables whose names begin with OTEL_",
        ) from error
    sampling, recording = (
        TracerProvider(sampler, resource, shutdown_on_exit=False) for sampler in (None, ALWAYS_ON)
    )
    for provider in (sampling, recording):
        provider.add_span_processor(_Counting(meter))
        provider.add_span_processor(sending)
    log.info("tracing: sampler %s", sampling.sampler.get_description())
    try:
        yield OpenTelemetryTracer(sampling, recording, group, clock)
    finally:
        _close(sending, exporter)


def check_receiver() -> Iterator[Check]:
    """Send a request without spans to the receiver. Blocks up to OTEL_EXPORTER_OTLP_TIMEOUT
    (10 s)."""
    exporter = OTLPSpanExporter()
    taken = exporter.export(()) is SpanExportResult.SUCCESS
    exporter.shutdown()  # type: ignore[no-untyped-call]
    if taken:
        yield Check("receiver", CheckResult.PASSED, "takes spans")
        return
    yield Check(
        "receiver",
        CheckResult.WARNING,
        "takes no spans, and traces will be lost; look at OTEL_EXPORTER_OTLP_ENDPOINT and at the "
        "log line above",
    )


def _close(sending: SpanProcessor, exporter: SpanExporter) -> None:
    # The SDK's own wait cannot be set, and an export that is retried would use all of it.
    closing = threading.Thread(target=sending.shutdown, name="tracing-close", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    if closing.is_alive():
        log.warning("tracing: the last spans were not sent within %g s; they are lost", CLOSE_S)
        exporter.shutdown()


class _Counting(SpanProcessor):
    """Counts spans before the queue, which drops the oldest when it is full."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_end(self, span: ReadableSpan) -> None:
        self._meter.add(TRACE_SPANS)


class _Counted(SpanExporter):
    """Counts what became of the spans that were sent. The SDK logs why sending failed."""

    def __init__(self, exporter: SpanExporter, meter: Meter) -> None:
        self._exporter = exporter
        self._meter = meter
        self._closed = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        outcome = "sent" if result is SpanExportResult.SUCCESS else "failed"
        self._meter.add(TRACE_SPANS_EXPORTED, len(spans), outcome=outcome)
        return result

    def shutdown(self) -> None:
        """Idempotent. Ends an export that waits for its next attempt."""
        if self._closed.acquire(blocking=False):
            self._exporter.shutdown()
