"""Publishes events of HTTP requests, each before its request is answered.

One thread owns the producer. It publishes what has come together while it published the records
before, so that many requests share a round trip to the broker. The rules against the defects of
kafka-python are those of ``sink``: every acknowledgement is looked at (R1), a producer that failed
is discarded (R2), every call has a time limit (R3).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import kafka.errors as kafka_errors

from pipeline.adapters.kafka.clients import connect, discard
from pipeline.adapters.kafka.failures import Meaning, described, enqueueing, meaning
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member, producer_options
from pipeline.adapters.kafka.producer import OutcomeProducer
from pipeline.adapters.kafka.sink import HEADER_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, within
from pipeline.errors import PipelineError, Retry, WorkerLost
from pipeline.records import EventRecord

REBUILD_S = 1.0
"""Pause before another producer is made. Records are refused at once meanwhile."""

CLOSE_S = 5.0

_FAILURES = (kafka_errors.KafkaError, PipelineError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The records of one request. ``ended`` is called once, by the thread."""

    records: tuple[EventRecord, ...]
    ended: Callable[[PipelineError | None], object]


class EventPublisher:
    """Publishes records to one topic, at least once. For coroutines of one event loop or several.

    Records of one call may become visible although the call failed. A record that is published
    again must therefore be the same event.
    """

    def __init__(
        self,
        kafka: KafkaPolicy,
        delivery: DeliveryPolicy,
        topic: str,
        make: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        """Starts the thread, which connects. ``make`` makes a producer from its options; by default
        one of kafka-python."""
        self._topic = topic
        self._make = make or partial(connect, OutcomeProducer)
        self._max_bytes = kafka.max_input_bytes
        at_least_once = delivery.model_copy(update={"mode": "at_least_once"})
        nobody = Member(kafka.transactional_id_prefix, kafka.group, "serve", 0)
        self._options = producer_options(kafka, at_least_once, nobody) | {
            "client_id": "clipstream-serve",
            "linger_ms": 0,  # records wait for each other here
            "max_request_size": kafka.max_input_bytes,
        }
        self._delivery_s = delivery.delivery_timeout_s
        # Longer than the client's own limits, which it nearly always keeps.
        self._limit_s = 2 * delivery.delivery_timeout_s + delivery.request_timeout_s
        self._producer: Any = None
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._failure: PipelineError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="kafka-served", daemon=True)
        self._thread.start()

    async def publish(self, records: Sequence[EventRecord]) -> None:
        """Returns when the broker has acknowledged all records.

        Raises:
            Retry: the broker did not acknowledge them, or no producer could be made a moment ago.
            Halt: the broker refuses them, now and later.
            WorkerLost: the thread has ended.
        """
        for record in records:
            self._check_size(record)
        loop = asyncio.get_running_loop()
        tell = loop.call_soon_threadsafe
        acknowledged: asyncio.Future[None] = loop.create_future()

        def end(failure: PipelineError | None) -> None:
            if acknowledged.done():  # nobody waits any more
                return
            if failure is None:
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(failure)

        with self._changed:
            if self._failure is not None:
                raise _again(self._failure)
            if self._closed:
                raise Retry("kafka.unavailable", "kafka: the publisher is closed")
            self._waiting.append(
                _Waiting(tuple(records), lambda failure: tell(partial(end, failure)))
            )
            self._changed.notify()
        await acknowledged

    def close(self) -> None:
        """Refuse further records, publish those that wait, and discard the producer. Blocks for
        seconds if the broker does not answer. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        group: list[_Waiting] = []
        try:
            while True:
                if self._producer is None and not self._build():
                    with self._changed:
                        if self._changed.wait_for(lambda: self._closed, REBUILD_S):
                            return
                    continue
                group = self._take()
                if not group:
                    return
                self._publish(group)
        except BaseException as defect:
            lost = WorkerLost("kafka.publisher_lost", f"kafka: the publisher ended ({defect!r})")
            self._fail(group, lost)
            raise
        finally:
            self._discard()

    def _take(self) -> list[_Waiting]:
        """All that wait, once there is something. Nothing if the publisher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            group, self._waiting = self._waiting, []
        return group

    def _build(self) -> bool:
        """Make a producer. Whether it can be used."""
        made: list[Any] = []
        abandoned = threading.Event()

        def start() -> None:
            made.append(self._make(self._options))
            if abandoned.is_set():
                discard(made[0])
                return
            # Learns of the topic now, so that the first request does not wait for it.
            made[0].partitions_for(self._topic)

        try:
            within(self._limit_s, "connecting", start)
        except _FAILURES as error:
            abandoned.set()
            for producer in made:
                discard(producer)
            self._fail([], self._translated(error, known=bool(made)))
            return False
        with self._changed:
            recovered, self._failure = self._failure is not None, None
        self._producer = made[0]
        if recovered:
            logger.warning("kafka: events of requests are published to %s again", self._topic)
        return True

    def _publish(self, group: Sequence[_Waiting]) -> None:
        records = [record for waiting in group for record in waiting.records]
        producer = self._producer
        try:
            within(self._limit_s, "send", lambda: self._send(producer, records))
        except _FAILURES as error:
            self._discard()
            self._fail(group, self._translated(error))
            return
        for waiting in group:
            waiting.ended(None)

    def _send(self, producer: Any, records: Sequence[EventRecord]) -> None:
        futures = [
            producer.send(self._topic, record.value, record.key, record.headers)
            for record in records
        ]
        deadline = time.monotonic() + self._delivery_s
        for future in futures:
            future.get(timeout=max(0.0, deadline - time.monotonic()))

    def _fail(self, group: Sequence[_Waiting], failure: PipelineError) -> None:
        """Refuse the group, all that wait, and all that come before there is a producer again."""
        with self._changed:
            first, self._failure = self._failure is None, failure
            refused, self._waiting = [*group, *self._waiting], []
        if first:
            logger.warning("%s", failure, extra={"code": failure.code, "refused": len(refused)})
        for waiting in refused:
            waiting.ended(_again(failure))

    def _discard(self) -> None:
        if self._producer is not None:
            discard(self._producer)
            self._producer = None

    def _translated(
        self, error: kafka_errors.KafkaError | PipelineError, *, known: bool = False
    ) -> PipelineError:
        """``known`` says that a broker had answered, and the topic's partitions were asked for."""
        if isinstance(error, PipelineError):
            return error
        if known and isinstance(error, kafka_errors.KafkaTimeoutError):
            return Retry(
                "kafka.publish_failed",
                f"kafka: topic {self._topic} is not known; create it (clipstream doctor "
                "--create-topics), or mend serve.topic",
            )
        if meaning(error) is Meaning.TOO_LARGE:
            return Retry(
                "kafka.publish_failed",
                f"kafka: topic {self._topic} refuses a record for its size ({described(error)}); "
                f"set its max.message.bytes to kafka.max_input_bytes ({self._max_bytes})",
            )
        return enqueueing(error, self._topic)

    def _check_size(self, record: EventRecord) -> None:
        overhead = RECORD_OVERHEAD_BYTES + HEADER_OVERHEAD_BYTES * len(record.headers)
        if record.size_bytes + overhead > self._max_bytes:
            raise Retry(
                "kafka.publish_failed",
                f"kafka: an event of {record.size_bytes} bytes exceeds kafka.max_input_bytes "
                f"({self._max_bytes}); use fewer label sets in one request, or raise the limit",
            )


def _again(failure: PipelineError) -> PipelineError:
    """The same failure for another caller. One that is raised twice gathers tracebacks."""
    return type(failure)(failure.code, failure.message)
