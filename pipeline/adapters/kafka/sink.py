"""Publishing with kafka-python: rules R1 to R5 against its defects, in one place. The numbers of
defects are those of ``DEFECTS.md`` in this folder.

R1  every send's future is checked before offsets are sent, and no flush is relied on (B2, B9);
R2  after any error, timeout or doubt the producer is discarded, never reused or aborted (B1, B3,
    B5): a new one with the same transactional id makes the broker finish or abort what was open;
R3  every call has a time limit of ours (B4), and the worker's watchdog has one for this thread;
R4  nothing of kafka-python is visible outside this package;
R5  its logger is rate-limited where logging is set up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import kafka.errors as kafka_errors
from kafka import KafkaProducer

from pipeline.adapters.kafka.clients import connect, discard
from pipeline.adapters.kafka.failures import Meaning, meaning, publishing
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, producer_options
from pipeline.adapters.kafka.producer import OutcomeProducer
from pipeline.errors import CommitDoubtful, Halt, OutcomeTooLarge
from pipeline.records import OutputRecord

RECORD_OVERHEAD_BYTES = 512
"""Upper bound of the framing of one record in a batch of its own, without the headers' part."""

HEADER_OVERHEAD_BYTES = 10
"""Upper bound of the two length prefixes of one header."""

FENCE_WINDOW_S = 600.0
"""Two fences within this time that we did not cause mean that another process uses the same
transactional id."""


def within(timeout_s: float, what: str, call: Callable[[], None]) -> None:
    """Run a call that has no time limit in a thread of its own, and stop waiting after
    ``timeout_s``.

    A call that never returns leaves its daemon thread blocked. Its producer is then discarded,
    which wakes the thread.

    Raises:
        CommitDoubtful: the time is over.
        Exception: raised by the call.
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

    def __init__(
        self,
        kafka: KafkaPolicy,
        delivery: DeliveryPolicy,
        member: Member,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._delivery = delivery
        self._member = member
        self._monotonic = monotonic
        self._options = producer_options(kafka, delivery, member)
        self._exactly_once = delivery.mode == "exactly_once"
        # Longer than the client's own limits, which it nearly always keeps: a bootstrap and the
        # first request, or a transaction and the requests that end it.
        self._start_limit_s = 2 * delivery.delivery_timeout_s + delivery.request_timeout_s
        self._limit_s = delivery.transaction_timeout_s + delivery.request_timeout_s
        self._producer: KafkaProducer | None = None
        self.failed_at: float | None = None
        """When the last producer failed or was discarded, on ``monotonic``. None once it is
        replaced."""
        # Starts whose request the broker may still execute after a later producer's.
        self._unanswered_starts = 0
        self._fenced_at: float | None = None

    @property
    def ready(self) -> bool:
        return self._producer is not None

    def build(self) -> None:
        """Make a new producer. In ``exactly_once`` it fences its predecessor, whose open
        transaction the broker finishes or aborts before this returns.

        Raises:
            CommitDoubtful: the broker does not answer; call again.
            Halt: not authorised, or permanently refused: see ``failures.publishing``.
        """
        self.discard()
        producers: list[KafkaProducer] = []
        abandoned = threading.Event()

        def start() -> None:
            producers.append(connect(OutcomeProducer, self._options))
            if abandoned.is_set():
                # Too late: its epoch would fence the producer that was built meanwhile.
                discard(producers[0])
            elif self._exactly_once:
                producers[0].init_transactions()

        try:
            within(self._start_limit_s, "init_transactions", start)
        except Exception as error:
            abandoned.set()
            # Without a producer no request was sent.
            self._unanswered_starts += len(producers) if self._exactly_once else 0
            self.failed_at = self._monotonic()
            for producer in producers:
                discard(producer)
            raise self._translated(error, self._monotonic()) from error
        self._producer = producers[0]
        self.failed_at = None

    def publish(
        self, records: tuple[OutputRecord, ...], offsets: Mapping[Any, Any], group: Any
    ) -> None:
        """Publish the records and, in ``exactly_once``, the offsets with them.

        Raises:
            OutcomeTooLarge: nothing became visible.
            CommitDoubtful: the result is unknown; call ``build`` before the next publish.
            Halt: not authorised, permanently refused, or fenced by another process.
        """
        if self._producer is None:
            raise CommitDoubtful("kafka.no_producer", "kafka: the producer is being replaced")
        for index, record in enumerate(records):
            self._check_size(index, record)
        producer = self._producer
        began = self._monotonic()
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
            cause = first_cause(producer, error)
            self.discard()
            raise self._translated(cause, began) from error
        self._unanswered_starts = 0

    def discard(self) -> None:
        """Discard the producer without an abort. An abort of a doubtful transaction is one more
        request that may hang, and the start of the next producer has the same effect on the
        broker."""
        if self._producer is not None:
            discard(self._producer)
            self._producer = None
            self.failed_at = self._monotonic()

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
        """Send the records and wait until all are acknowledged (R1)."""
        topics = self._kafka.output_topics
        futures: list[Any] = []
        # In the order of their failure, because the first failure causes the others (B10).
        failures: list[tuple[int, Exception]] = []
        failure: Exception | None = None
        try:
            for index, record in enumerate(records):
                future = producer.send(
                    topics.name(record.topic), record.value, record.key, record.headers
                )
                future.add_errback(lambda error, index=index: failures.append((index, error)))
                futures.append(future)
        except kafka_errors.KafkaError as error:
            # If an earlier record has failed, this error says no more than that.
            failure = error
        deadline = time.monotonic() + self._delivery.delivery_timeout_s
        for future in futures:
            try:
                future.get(timeout=max(0.0, deadline - time.monotonic()))
            except kafka_errors.KafkaError as error:
                failure = failure or error
        if failures and meaning(failures[0][1]) is Meaning.TOO_LARGE:
            index, cause = failures[0]
            raise OutcomeTooLarge(index, f"the broker refuses the record ({type(cause).__name__})")
        if failure is not None:
            raise failure

    def _check_size(self, index: int, record: OutputRecord) -> None:
        size = record_bytes_at_most(record)
        if size > self._kafka.max_request_bytes:
            raise OutcomeTooLarge(
                index,
                f"the record of {size} bytes exceeds the limit of "
                f"{self._kafka.max_request_bytes} bytes (kafka.max_input_bytes + 64 KiB)",
            )

    def _translated(self, error: Exception, began: float) -> Exception:
        if not isinstance(error, kafka_errors.KafkaError):
            return error  # our own error, or a defect
        if meaning(error) is Meaning.PRODUCER_FENCED:
            return self._fenced(error, began)
        return publishing(error, self._member.transactional_id)

    def _fenced(self, error: Exception, began: float) -> CommitDoubtful | Halt:
        """The failure when the broker knows a newer producer with our transactional id.

        We may have caused the fence: the broker has ended a transaction that took too long, or has
        executed a start that we gave up. Each of these explains one fence. Otherwise another
        process uses the id, and the two would fence each other for ever. Hence the halt at the
        second fence.
        """
        now = self._monotonic()
        text = f"kafka: transactional id {self._member.transactional_id} is fenced"
        too_long = now - began >= self._delivery.transaction_timeout_s
        if too_long or self._unanswered_starts:
            self._unanswered_starts -= 0 if too_long else 1
            return CommitDoubtful("kafka.fenced", f"{text} by an earlier attempt of our own")
        if self._fenced_at is not None and now - self._fenced_at < FENCE_WINDOW_S:
            return Halt(
                "kafka.fenced",
                f"{text} for the second time in {now - self._fenced_at:.0f} s: another process "
                "uses it; give each deployment its own kafka.instance",
            )
        self._fenced_at = now
        return CommitDoubtful("kafka.fenced", f"{text} ({type(error).__name__})")


def record_bytes_at_most(record: OutputRecord) -> int:
    """Upper bound of the record's size as the producer and the broker compute it: uncompressed, in
    a batch of its own."""
    return record.size_bytes + RECORD_OVERHEAD_BYTES + HEADER_OVERHEAD_BYTES * len(record.headers)


def first_cause(producer: KafkaProducer, error: Exception) -> Exception:
    """The error that failed a transaction. Later calls fail with an error that does not name it."""
    if isinstance(error, (OutcomeTooLarge, CommitDoubtful)):
        return error
    cause: Exception | None = producer._transaction_manager.last_error
    return cause or error
