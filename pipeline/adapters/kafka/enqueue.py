"""Publishing to one topic, each record acknowledged: references, for `clipstream enqueue`, the demo
and tests; and label sets, for ``recorded``."""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any, Self

import kafka.errors as kafka_errors

from pipeline.adapters.kafka.clients import Producer, connect, discard
from pipeline.adapters.kafka.failures import connecting, enqueueing
from pipeline.adapters.kafka.policy import KafkaPolicy, common_options
from pipeline.records import Headers

FLUSH_S = 60.0
MAX_UNACKNOWLEDGED = 10_000
"""Most records sent ahead of their acknowledgement. Bounds memory."""


class ReferenceProducer:
    """An idempotent producer that checks every acknowledgement, so that no loss goes unnoticed."""

    def __init__(self, kafka: KafkaPolicy, topic: str) -> None:
        """Connect.

        Raises:
            Retry: no broker answers.
            Halt: the credentials are refused, or kafka.security cannot be used.
        """
        self._topic = topic
        self._unacknowledged: list[Any] = []
        options = common_options(kafka, "clipstream-enqueue") | {
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 20,
            "allow_auto_create_topics": False,
            "max_request_size": kafka.max_input_bytes,
        }
        with connecting(kafka.bootstrap_servers, partial(enqueueing, topic=topic)):
            self._producer = connect(Producer, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            discard(self._producer)

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Publish one record. Blocks now and then until earlier records are acknowledged.

        Raises:
            Halt, Retry: as ``flush``.
        """
        try:
            self._unacknowledged.append(
                self._producer.send(
                    self._topic, value, key=key, headers=list(headers), partition=partition
                )
            )
        except kafka_errors.KafkaError as error:
            raise enqueueing(error, self._topic) from error
        if len(self._unacknowledged) >= MAX_UNACKNOWLEDGED:
            self.flush()

    def flush(self) -> None:
        """Wait until all sent records are acknowledged.

        Raises:
            Halt: the broker refuses a record.
            Retry: the broker did not answer in time.
        """
        try:
            # Not the producer's own flush, which fails if a batch was split for its size.
            for future in self._unacknowledged:
                future.get(timeout=FLUSH_S)
        except kafka_errors.KafkaError as error:
            raise enqueueing(error, self._topic) from error
        self._unacknowledged.clear()
