"""Traces of a stream worker, as a receiver gets them over OTLP from the real exporter."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from pipeline import metrics
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.memory.stream import MemoryBroker
from pipeline.adapters.opentelemetry import exporting
from pipeline.adapters.opentelemetry.policy import TracingPolicy, require_tracing
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import UNTRACED, CheckResult
from pipeline.records import Origin, OutputTopic, Partition, Position
from tests.rigs.root import ROOT
from tests.rigs.services.otlp_receiver import OtlpReceiver, Seen
from tests.rigs.stages.pipeline_of_fakes import MISSING
from tests.rigs.stages.traced import traced_worker
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import GROUP, TOPIC, committed, new_broker, visible
from workers.settings.loading import Settings
from workers.stream.wiring import tracer_of

pytestmark = [pytest.mark.component]

STAGES = ["fetch", "decode", "queue", "encode", "score", "publish"]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ON = Settings(tracing=TracingPolicy(enabled=True))
MEMBER = Member("clipstream", GROUP, "here", 0)
ORIGIN = Origin(Position(Partition(TOPIC, 0), 0), 0, 0)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield receiver


@pytest.fixture
def meter() -> PrometheusMeter:
    return PrometheusMeter(STREAM_WORKER)


@pytest.fixture
def broker() -> MemoryBroker:
    return new_broker(1)


def send(broker: MemoryBroker, *keys: str, sampled: bool | None = None) -> None:
    """One record of all the keys. ``sampled``: what its sender's trace says, None without one."""
    headers: list[tuple[str, bytes]] = []
    if sampled is not None:
        headers = [
            ("traceparent", f"00-{TRACE}-{PARENT}-0{sampled:d}".encode()),
            ("tracestate", b"vendor=1"),
        ]
    value = json.dumps([{"bucket": "bucket", "key": key} for key in keys]).encode()
    broker.produce(Partition(TOPIC, 0), value, headers=tuple(headers))


@contextmanager
def working(broker: MemoryBroker, meter: PrometheusMeter) -> Iterator[None]:
    """A worker whose tracer is built from settings, as in production."""
    with tracer_of(ON, MEMBER, meter) as tracer, traced_worker(broker, tracer, meter):
        yield


def work(broker: MemoryBroker, meter: PrometheusMeter) -> None:
    """Until all that was sent is committed, and the spans are sent."""
    with working(broker, meter):
        eventually(lambda: committed(broker) == broker.end(Partition(TOPIC, 0)))


def made(meter: PrometheusMeter) -> float:
    return meter.registry.get_sample_value(metrics.TRACE_SPANS.name) or 0


def exported(meter: PrometheusMeter, outcome: str) -> float:
    name = metrics.TRACE_SPANS_EXPORTED.name
    return meter.registry.get_sample_value(name, {"outcome": outcome}) or 0


def only(spans: list[Seen]) -> Seen:
    (span,) = spans
    return span


def test_an_image_has_a_span_below_its_senders_and_one_for_each_stage(
    receiver: OtlpReceiver, broker: MemoryBroker, meter: PrometheusMeter
) -> None:
    send(broker, "a", sampled=True)
    work(broker, meter)
    image = only(receiver.named(f"process {TOPIC}"))
    assert (image.trace, image.parent, image.state) == (TRACE, PARENT, "vendor=1")
    assert (image.kind, image.error) == ("CONSUMER", None)
    assert image.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": TOPIC,
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": GROUP,
        "messaging.kafka.offset": 0,
        "clipstream.reference.index": 0,
    }
    assert image.service["service.name"] == "clipstream"
    assert image.service["service.instance.id"] == "here/0"
    stages = receiver.below(image)
    assert [stage.name for stage in stages] == STAGES
    assert {stage.trace for stage in stages} == {TRACE}
    moments = [moment for stage in stages for moment in (stage.start_ns, stage.end_ns)]
    assert moments == sorted(moments)
    assert image.start_ns <= moments[0]
    assert image.end_ns == moments[-1]
    assert made(meter) == exported(meter, "sent") == len(receiver.spans) == 8
    assert exported(meter, "failed") == 0


def test_images_and_the_commit_that_shows_them_are_linked_both_ways(
    receiver: OtlpReceiver, broker: MemoryBroker, meter: PrometheusMeter
) -> None:
    send(broker, "a", "b", MISSING)
    work(broker, meter)
    commit = only(receiver.named("commit"))
    images = receiver.named(f"process {TOPIC}")
    assert {*commit.links} == {image.place for image in images}
    assert [image.links for image in images] == [(commit.place,)] * 3
    assert (commit.kind, commit.parent) == ("CLIENT", "")
    assert commit.attributes["messaging.operation.type"] == "settle"
    assert commit.attributes["clipstream.outcomes"] == 3
    assert len({commit.trace, *(image.trace for image in images)}) == 4
    assert all(commit.end_ns == image.end_ns for image in images)


def test_links_of_a_commit_are_bounded_and_the_others_counted(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "2")
    send(broker, "a", "b", "c", "d", "e")
    work(broker, meter)
    commit = only(receiver.named("commit"))
    assert (len(commit.links), commit.dropped_links) == (2, 3)


def test_a_dead_letter_marks_its_image_and_the_stage_that_failed(
    receiver: OtlpReceiver, broker: MemoryBroker, meter: PrometheusMeter
) -> None:
    send(broker, MISSING)
    work(broker, meter)
    image = only(receiver.named(f"process {TOPIC}"))
    fetch, publish = receiver.below(image)
    for span in (image, fetch):
        assert span.error == span.attributes["error.type"] == "fetch.not_found"
    assert (publish.name, publish.error) == ("publish", None)


def test_a_record_that_cannot_be_read_has_a_span_that_says_so(
    receiver: OtlpReceiver, broker: MemoryBroker, meter: PrometheusMeter
) -> None:
    broker.produce(Partition(TOPIC, 0), b"not json")
    work(broker, meter)
    image = only(receiver.named(f"process {TOPIC}"))
    assert image.error == "reference.not_json"
    assert receiver.below(image) == []
    assert image.links == (only(receiver.named("commit")).place,)


def test_images_that_are_not_sampled_make_no_span(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender decides, and OTEL_TRACES_SAMPLER for a record without a trace."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    send(broker, "a", sampled=False)
    send(broker, "b")
    send(broker, "c", sampled=True)
    work(broker, meter)
    assert only(receiver.named(f"process {TOPIC}")).attributes["messaging.kafka.offset"] == 2
    assert len(receiver.named("commit")) == 1
    assert made(meter) == len(STAGES) + 2


def test_a_receiver_that_refuses_costs_spans_and_no_outcome(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver.status = 400
    send(broker, "a", "b")
    work(broker, meter)
    assert len(visible(broker, OutputTopic.CLASSIFICATIONS)) == 2
    assert exported(meter, "failed") == made(meter) > 0
    assert exported(meter, "sent") == 0
    assert "400" in caplog.text


def test_a_receiver_that_hangs_holds_up_neither_the_stream_nor_its_end(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(exporting, "CLOSE_S", 0.1)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    receiver.hold.clear()
    with working(broker, meter):
        send(broker, "a")
        eventually(lambda: receiver.requests == 1)
        for number in range(9):
            send(broker, f"b{number}")
        eventually(lambda: committed(broker) == 10)
    # The block has ended, and the receiver still answers nobody.
    assert not receiver.hold.is_set()
    assert "the last spans were not sent within 0.1 s" in caplog.text
    assert exported(meter, "sent") < made(meter)
    receiver.hold.set()
    eventually(lambda: not any(t.name == "tracing-close" for t in threading.enumerate()))


def test_a_defect_in_tracing_turns_it_off_and_costs_no_outcome(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        tracer_of(ON, MEMBER, meter) as tracer,
        mock.patch.object(tracer, "_recording", None),
        traced_worker(broker, tracer, meter),
    ):
        begun = tracer.begin(ORIGIN)
        send(broker, "a")
        eventually(lambda: committed(broker) == 1)
        send(broker, "b")
        eventually(lambda: committed(broker) == 2)
        assert tracer.begin(ORIGIN) is UNTRACED
        tracer.committed([begun], 0.0)
    assert len(visible(broker, OutputTopic.CLASSIFICATIONS)) == 2
    assert caplog.text.count("this worker makes no more traces") == 1
    assert receiver.spans == []


def test_variables_name_the_service(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "moderation")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    send(broker, "a")
    work(broker, meter)
    service = receiver.spans[0].service
    assert service["service.name"] == "moderation"
    assert service["deployment.environment.name"] == "staging"


def test_the_sdk_can_be_disabled_by_its_own_variable(
    receiver: OtlpReceiver,
    broker: MemoryBroker,
    meter: PrometheusMeter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    send(broker, "a", sampled=True)
    work(broker, meter)
    assert (made(meter), receiver.requests) == (0, 0)


def test_doctor_asks_the_receiver(receiver: OtlpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    (check,) = exporting.check_receiver()
    assert (check.result, receiver.requests) == (CheckResult.PASSED, 1)
    receiver.status = 401
    (check,) = exporting.check_receiver()
    assert check.result is CheckResult.WARNING
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in check.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ],
)
def test_another_exporter_is_refused(variable: str, value: str) -> None:
    on = TracingPolicy(enabled=True)
    with pytest.raises(Halt, match=f"{variable} is {value}") as caught:
        require_tracing(on, {variable: value})
    assert caught.value.code == "tracing.invalid"
    require_tracing(on, {variable: ""})
    require_tracing(TracingPolicy(), {variable: value})


def test_the_protocol_of_traces_goes_before_that_of_all_signals() -> None:
    of_platform = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    of_traces = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    require_tracing(TracingPolicy(enabled=True), of_platform | of_traces)


def test_a_value_that_the_sdk_refuses_is_told(
    meter: PrometheusMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(Halt, match="max_queue_size") as caught, tracer_of(ON, MEMBER, meter):
        pass
    assert caught.value.code == "tracing.invalid"


def test_missing_packages_are_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, meter: PrometheusMeter
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Halt, match=r"install clipstream\[tracing\]") as caught:
        tracer_of(ON, MEMBER, meter)
    assert caught.value.code == "tracing.packages_missing"


OFF = """
import sys
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import STREAM_WORKER
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import committed, new_broker, send
from tests.rigs.stages.traced import traced_worker
from workers.settings.loading import Settings
from workers.stream.wiring import tracer_of

broker, meter = new_broker(1), PrometheusMeter(STREAM_WORKER)
with tracer_of(Settings(), Member("p", "g", "here", 0), meter) as tracer:
    with traced_worker(broker, tracer, meter):
        send(broker, "a")
        eventually(lambda: committed(broker) == 1)
print([name for name in sys.modules if name.split(".")[0] == "opentelemetry"])
"""


def test_while_it_is_off_no_module_of_opentelemetry_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even with its variables set, as platforms set them for every pod."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    ran = subprocess.run(
        [sys.executable, "-c", OFF], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr
