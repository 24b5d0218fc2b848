"""The parts of the Kafka adapter that need no broker: bytes read, errors told, threads bounded."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any

import kafka.errors as kafka_errors
import pytest
from kafka.net.compat import KafkaNetClient
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from pipeline.adapters.kafka import clients as kafka_clients
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.failures import consuming
from pipeline.adapters.kafka.offsets import OffsetNote
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member
from pipeline.adapters.kafka.reading import Batches
from pipeline.adapters.kafka.sink import KafkaSink, within
from pipeline.errors import CommitDoubtful, Halt, Retry
from tests.rigs.failing_producer import FailingProducer, refused_with

MAGIC = 2


class RawName(str):
    """A header name that is no UTF-8 on the wire."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff" + str.encode(self)


def batch_of(*headers: list[tuple[str, bytes]]) -> bytes:
    """One batch, a record for each list of headers."""
    builder = MemoryRecordsBuilder(MAGIC, 0, 1 << 20)
    for index, each in enumerate(headers):
        builder.append(index, b"key", b"%d" % index, each)
    builder.close()
    return bytes(builder.buffer())


def test_header_names_that_are_not_text_are_escaped() -> None:
    raw = batch_of([("plain", b"0")], [(RawName("x"), b"1"), ("ü", b"2"), (RawName(""), b"")], [])
    batch = Batches(MemoryRecords(raw), 0).next_batch()
    assert batch.validate_crc()
    assert [(record.offset, record.value, record.headers) for record in batch] == [
        (0, b"0", [("plain", b"0")]),
        (1, b"1", [("\\xffx", b"1"), ("ü", b"2"), ("\\xff", b"")]),
        (2, b"2", []),
    ]


def test_a_header_name_longer_than_its_batch_is_an_error_and_no_endless_read() -> None:
    raw = bytearray(batch_of([(RawName("name"), b"v")]))
    # The length of the name, a zigzag number, stands before its first byte.
    at = raw.index(b"\xffname") - 1
    assert raw[at] == 2 * len(b"\xffname")
    raw[at] = 126
    batch = Batches(MemoryRecords(bytes(raw)), 0).next_batch()
    with pytest.raises(kafka_errors.CorruptRecordError):
        list(batch)


def test_batches_end_where_the_fetch_does() -> None:
    batches = Batches(MemoryRecords(batch_of([]) + batch_of([])), 7)
    assert batches.next_batch() is not None
    assert batches.offset == 0
    assert batches.next_batch() is not None
    assert batches.next_batch() is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kafka_errors.OffsetOutOfRangeError({}), "kafka.offset_out_of_range"),
        (kafka_errors.LogTruncationError({}), "kafka.log_truncated"),
        (kafka_errors.TopicAuthorizationFailedError({"t"}), "kafka.not_authorized"),
        (kafka_errors.GroupAuthorizationFailedError("g"), "kafka.not_authorized"),
        (kafka_errors.SaslAuthenticationFailedError("secret"), "kafka.not_authenticated"),
        (kafka_errors.FencedInstanceIdError(), "kafka.fenced"),
        (kafka_errors.UnsupportedCodecError("lz4"), "kafka.codec_missing"),
        (kafka_errors.InvalidSessionTimeoutError(), "kafka.refused"),
        (kafka_errors.InconsistentGroupProtocolError(), "kafka.refused"),
        (kafka_errors.UnsupportedVersionError(), "kafka.refused"),
    ],
)
def test_what_no_wait_can_mend_stops_the_worker(error: kafka_errors.KafkaError, code: str) -> None:
    failure = consuming(error, "the-group")
    assert isinstance(failure, Halt)
    assert failure.code == code
    assert "secret" not in failure.message


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.KafkaTimeoutError("slow"),
        kafka_errors.KafkaConnectionError("gone"),
        kafka_errors.NotCoordinatorError(),
        kafka_errors.CoordinatorLoadInProgressError(),
        kafka_errors.LeaderNotAvailableError(),
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.UnknownTopicOrPartitionError(),
        kafka_errors.UnknownMemberIdError(),
    ],
)
def test_what_may_pass_is_tried_again(error: kafka_errors.KafkaError) -> None:
    failure = consuming(error, "group")
    assert isinstance(failure, Retry)
    assert failure.code == "kafka.unavailable"


def test_a_note_is_read_back() -> None:
    note = OffsetNote("b5f6a2f3-0e3f-4a8a-9f38-4d4a8d6c5a11", 12)
    assert OffsetNote.parse(str(note)) == note


def test_fields_that_a_later_release_adds_to_a_note_are_ignored() -> None:
    note = OffsetNote("b5f6a2f3-0e3f-4a8a-9f38-4d4a8d6c5a11", 12)
    assert OffsetNote.parse(f"{note} epoch=3 more=x") == note


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "clipstream",
        "clipstream/1",
        "clipstream/1 topic=x",
        "clipstream/1 topic=x initial=",
        "clipstream/1 topic=x initial=many",
        "clipstream/1 topic=x initial=1 more",
        "clipstream/2 topic=x initial=1",
        "another topic=x initial=1",
    ],
)
def test_what_others_wrote_is_no_note(metadata: str) -> None:
    assert OffsetNote.parse(metadata) is None


def test_a_call_that_does_not_end_is_given_up() -> None:
    ended = threading.Event()

    def hang() -> None:
        ended.wait()

    with pytest.raises(CommitDoubtful, match=r"commit took longer than 0\.01 s") as raised:
        within(0.01, "commit", hang)
    ended.set()
    assert raised.value.code == "kafka.timeout"


def test_the_failure_of_a_call_is_the_callers() -> None:
    def fail() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        within(10.0, "commit", fail)
    within(10.0, "commit", lambda: None)


def test_no_client_has_the_broker_create_topics() -> None:
    """kafka-python ignores its own ``allow_auto_create_topics``."""

    def client(kafka_client: Any) -> KafkaNetClient:
        made: KafkaNetClient = kafka_client(bootstrap_servers="127.0.0.1:1")
        return made

    made = connect(client, {})
    made.cluster.add_topic("mistyped")
    try:
        request = made.cluster.metadata_request()
    finally:
        made.close()
    assert request.allow_auto_topic_creation is False


@pytest.mark.parametrize(("slow_step_s", "told"), [(None, False), (0.01, True)])
def test_a_step_that_waits_for_a_busy_worker_is_not_told(
    slow_step_s: float | None,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that takes longer than a heartbeat may wait is."""
    if slow_step_s is not None:
        monkeypatch.setattr(kafka_clients, "SLOW_STEP_S", slow_step_s)
    caplog.set_level(logging.WARNING, "kafka.net.selector")

    def client(kafka_client: Any) -> KafkaNetClient:
        made: KafkaNetClient = kafka_client(bootstrap_servers="127.0.0.1:1")
        return made

    made = connect(client, {})
    try:
        made._net.run(lambda: time.sleep(0.15))
    finally:
        made.close()
    assert ("blocking the event loop" in caplog.text) is told


def test_a_client_that_cannot_be_made_is_closed() -> None:
    made: list[KafkaNetClient] = []

    def client(kafka_client: Any) -> None:
        made.append(kafka_client(bootstrap_servers="127.0.0.1:1"))
        raise kafka_errors.KafkaTimeoutError("no broker")

    with pytest.raises(kafka_errors.KafkaTimeoutError):
        connect(client, {})
    assert made[0]._manager.closed


def test_a_closed_client_closes_sockets_that_it_waits_for() -> None:
    """kafka-python leaves them to the garbage collector, as while a connection is made."""

    def client(kafka_client: Any) -> KafkaNetClient:
        made: KafkaNetClient = kafka_client(bootstrap_servers="127.0.0.1:1")
        return made

    made = connect(client, {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        waiting = socket.create_connection(silent.getsockname())

        async def wait() -> None:
            await made._net.wait_read(waiting)

        made._net.call_soon(wait)
        made._net.drain()
        made.close()
    assert waiting.fileno() == -1


def test_a_producer_that_is_thrown_away_counts_as_failed() -> None:
    # Whoever builds the next one asks the group first: see KafkaStream.recover.
    sink = KafkaSink(KafkaPolicy(), DeliveryPolicy(), Member("p", "g", "host", 0), lambda: 7.0)
    sink.discard()
    assert sink.failed_at is None
    sink._producer = FailingProducer(kafka_errors.KafkaError())
    sink.discard()
    assert sink.failed_at == 7.0


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.LeaderNotAvailableError(),
        kafka_errors.NotEnoughReplicasError(),
        kafka_errors.NotEnoughReplicasAfterAppendError(),
        kafka_errors.OutOfOrderSequenceNumberError(),
        kafka_errors.CoordinatorNotAvailableError(),
        kafka_errors.CoordinatorLoadInProgressError(),
        kafka_errors.IllegalGenerationError(),
        kafka_errors.KafkaStorageError(),
        kafka_errors.ThrottlingQuotaExceededError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_record_makes_the_commit_doubtful_and_its_producer_is_thrown_away(
    error: kafka_errors.KafkaError,
) -> None:
    failure = refused_with(error)
    assert isinstance(failure, CommitDoubtful)
    assert failure.code == "kafka.publish_failed"
    assert type(error).__name__ in failure.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kafka_errors.TopicAuthorizationFailedError({"dead"}), "kafka.not_authorized"),
        (kafka_errors.TransactionalIdAuthorizationFailedError(), "kafka.not_authorized"),
        (kafka_errors.SaslAuthenticationFailedError("secret"), "kafka.not_authenticated"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_rights_that_are_taken_away_stop_the_worker_and_skip_nothing(
    error: kafka_errors.KafkaError, code: str
) -> None:
    failure = refused_with(error)
    assert isinstance(failure, Halt)
    assert failure.code == code
    assert "secret" not in failure.message
