"""Publishing with kafka-python: rules R1 to R5 against its defects, in one place.

B1: offsets of an aborted transaction leak into the next. B2: a batch that expires does not fail
its transaction. B3: one timeout of a transaction request leaves the producer failed for good. B4:
transaction calls take no time limit. B8: a collected producer mutes the module's logger. Hence:

R1  every send's future is looked at before offsets are sent;
R2  after any error, timeout or doubt the producer is thrown away, never reused or aborted: a fresh
    one with the same transactional id makes the broker finish or abort what was open;
R3  every call has a time limit of ours (and the worker's watchdog has one for this thread);
R4  nothing of kafka-python is visible outside this package;
R5  its logger is rate-limited (``pipeline.adapters.kafka_logging``).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kafka.errors as kafka_errors
from kafka import KafkaProducer

from pipeline.adapters.kafka_config import DeliveryPolicy, KafkaPolicy, Member, producer_options
from pipeline.errors import Halt
from pipeline.ports import CommitDoubtful, OutcomeTooLarge
from pipeline.records import OutputRecord

RECORD_OVERHEAD_BYTES = 512
"""Upper bound of the framing of one record in a batch of its own, without the per-header part."""

HEADER_OVERHEAD_BYTES = 10
"""Upper bound of the two length prefixes of one header."""

CLOSE_TIMEOUT_S = 1.0
"""Wait for the sender thread of a producer that is thrown away."""

FENCED = (
    kafka_errors.ProducerFencedError,
    # The broker's other word for the same, seen when a fenced producer sends.
    kafka_errors.InvalidProducerEpochError,
)
TOO_LARGE = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
)


class Fenced(CommitDoubtful):
    """Another producer with the same transactional id has taken over, or the broker has ended a
    transaction that took too long: the two cannot be told apart."""


class _Producer(KafkaProducer):  # type: ignore[misc]
    """A producer whose collection leaves the module's logger alone (B8)."""

    def __del__(self) -> None:
        if hasattr(self, "_closed") and not self._closed:
            _close(self)


def within(timeout_s: float, what: str, call: Callable[[], None]) -> None:
    """Run a call that takes no time limit in a thread of its own, and stop waiting after
    ``timeout_s``.

    A call that never returns leaves its daemon thread behind, blocked; the producer it belongs to
    is thrown away, which wakes it.

    Raises:
        CommitDoubtful: the time is over.
        Exception: whatever the call raised.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=run, name=f"kafka-{what}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise CommitDoubtful("kafka.timeout", f"kafka: {what} took longer than {timeout_s:g} s")
    if failure:
        raise failure[0]


class KafkaSink:
    """One producer at a time for one member. Not thread-safe: the Kafka thread owns it."""

    def __init__(self, kafka: KafkaPolicy, delivery: DeliveryPolicy, member: Member) -> None:
        self._kafka = kafka
        self._delivery = delivery
        self._member = member
        self._options = producer_options(kafka, delivery, member)
        self._exactly_once = delivery.mode == "exactly_once"
        # One transaction, and the requests that end it.
        self._limit_s = delivery.transaction_timeout_s + delivery.request_timeout_s
        self._producer: KafkaProducer | None = None

    @property
    def ready(self) -> bool:
        return self._producer is not None

    def build(self) -> None:
        """A fresh producer; in ``exactly_once`` it fences its predecessor, whose open transaction
        the broker finishes or aborts before this returns.

        Raises:
            CommitDoubtful: the broker does not answer; call again.
            Halt: not authorised.
        """
        self.discard()
        producer: list[KafkaProducer] = []

        def start() -> None:
            producer.append(_Producer(**self._options))
            if self._exactly_once:
                producer[0].init_transactions()

        try:
            within(self._limit_s, "init_transactions", start)
        except Exception as error:
            if producer:
                _close(producer[0])
            raise self._translated(error) from error
        self._producer = producer[0]

    def publish(
        self, records: tuple[OutputRecord, ...], offsets: Mapping[Any, Any], group: Any
    ) -> None:
        """Publish the records and, in ``exactly_once``, the offsets with them.

        Raises:
            OutcomeTooLarge: nothing became visible.
            CommitDoubtful: nobody knows; ``build`` before the next publish.
            Halt: not authorised.
        """
        if self._producer is None:
            raise CommitDoubtful("kafka.no_producer", "kafka: the producer is being replaced")
        for index, record in enumerate(records):
            self._check_size(index, record)
        producer = self._producer
        try:
            if self._exactly_once:
                within(
                    self._limit_s,
                    "transaction",
                    lambda: self._transaction(producer, records, offsets, group),
                )
            else:
                within(self._limit_s, "send", lambda: self._send(producer, records))
        except Exception as error:
            self.discard()
            raise self._translated(error) from error

    def discard(self) -> None:
        """Throw the producer away without aborting: an abort of a doubtful transaction is one more
        request that may hang, and its successor's start does the same on the broker."""
        if self._producer is not None:
            _close(self._producer)
            self._producer = None

    def _transaction(
        self,
        producer: KafkaProducer,
        records: tuple[OutputRecord, ...],
        offsets: Mapping[Any, Any],
        group: Any,
    ) -> None:
        producer.begin_transaction()
        self._send(producer, records)
        producer.send_offsets_to_transaction(dict(offsets), group)
        producer.commit_transaction()

    def _send(self, producer: KafkaProducer, records: tuple[OutputRecord, ...]) -> None:
        topics = self._kafka.output_topics
        futures = []
        for index, record in enumerate(records):
            try:
                futures.append(
                    producer.send(
                        topics.name(record.topic),
                        value=record.value,
                        key=record.key,
                        headers=list(record.headers),
                    )
                )
            except TOO_LARGE as error:
                raise OutcomeTooLarge(index, str(error)) from error
        producer.flush(self._delivery.delivery_timeout_s)
        for index, future in enumerate(futures):  # R1
            if future.succeeded():
                continue
            if isinstance(future.exception, TOO_LARGE):
                raise OutcomeTooLarge(index, str(future.exception))
            raise future.exception or kafka_errors.KafkaTimeoutError(
                "a record is not acknowledged after its flush"
            )

    def _check_size(self, index: int, record: OutputRecord) -> None:
        size = (
            record.size_bytes + RECORD_OVERHEAD_BYTES + HEADER_OVERHEAD_BYTES * len(record.headers)
        )
        if size > self._kafka.max_request_bytes:
            raise OutcomeTooLarge(
                index,
                f"the record of {size} bytes exceeds the limit of "
                f"{self._kafka.max_request_bytes} bytes (kafka.max_input_bytes + 64 KiB)",
            )

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, (OutcomeTooLarge, CommitDoubtful, Halt)):
            return error
        if isinstance(error, FENCED):
            return Fenced(
                "kafka.fenced",
                f"kafka: transactional id {self._member.transactional_id} is fenced "
                f"({type(error).__name__})",
            )
        if isinstance(error, kafka_errors.AuthorizationError):
            return Halt(
                "kafka.not_authorized",
                f"kafka: publishing is not allowed ({error}); grant Write on the output topics, "
                "Read on the group, and Write and Describe on transactional id "
                f"{self._member.transactional_id}",
            )
        if isinstance(error, kafka_errors.KafkaError):
            return CommitDoubtful(
                "kafka.publish_failed",
                f"kafka: publishing failed ({type(error).__name__}: {error})",
            )
        return error


def _close(producer: KafkaProducer) -> None:
    """Stop a producer at once. ``close`` alone flushes first, and where that times out leaves the
    sender thread running: hence its own forced end before."""
    producer._sender.force_close()
    with contextlib.suppress(kafka_errors.KafkaError):
        producer.close(timeout=CLOSE_TIMEOUT_S)
