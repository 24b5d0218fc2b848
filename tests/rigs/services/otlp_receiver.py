"""A receiver of traces: OTLP over HTTP, as an OpenTelemetry collector speaks it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

PATH = "/v1/traces"
SERVER_S = 10.0

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it arrived. Ids are in hexadecimal; ``parent`` is empty for a span without one.
    ``links`` are ids of traces and spans. ``error`` is the status's text if its code is ERROR."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    links: tuple[tuple[str, str], ...]
    dropped_links: int
    error: str | None
    service: Mapping[str, Value]

    @property
    def place(self) -> tuple[str, str]:
        return self.trace, self.id


class OtlpReceiver:
    """Listens on loopback. ``status`` is the answer to every request."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self.spans: list[Seen] = []
        self.hold = threading.Event()
        """Requests are answered once it is set, which it is at first."""
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == PATH
                assert self.headers["Content-Type"] == "application/x-protobuf"
                receiver._take(body)
                receiver.hold.wait(SERVER_S)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def below(self, span: Seen) -> list[Seen]:
        """The spans whose parent it is, in the order of their start."""
        found = [each for each in self.spans if (each.trace, each.parent) == span.place]
        return sorted(found, key=lambda each: each.start_ns)

    def _take(self, body: bytes) -> None:
        self.requests += 1
        if self.status != 200:
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(_seen(span, service) for span in scope.spans)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SERVER_S)


def _seen(span: trace_pb2.Span, service: Mapping[str, Value]) -> Seen:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Seen(
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _values(span.attributes),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        span.dropped_links_count,
        span.status.message if failed else None,
        service,
    )


def _values(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Value:
    field = value.WhichOneof("value")
    assert field is not None
    found: Value = getattr(value, field)
    return found
