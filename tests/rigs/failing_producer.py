"""A producer of kafka-python whose records are refused, and what the sink makes of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import kafka.errors as kafka_errors
import pytest

from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member
from pipeline.adapters.kafka.sink import KafkaSink
from pipeline.errors import Halt, OutcomeTooLarge, Retry
from pipeline.records import OutputRecord, OutputTopic


class FailedSend:
    """What kafka-python returns for a record that the broker has refused."""

    def __init__(self, error: kafka_errors.KafkaError) -> None:
        self._error = error

    def add_errback(self, call: Callable[[Exception], None]) -> None:
        call(self._error)

    def get(self, timeout: float) -> NoReturn:
        raise self._error


class FailingProducer:
    """A producer of kafka-python whose only record the broker refuses."""

    last_error = None

    def __init__(self, error: kafka_errors.KafkaError) -> None:
        self._error = error
        self._transaction_manager = self._sender = self
        self.calls: list[str] = []

    def send(self, *_: object, **__: object) -> FailedSend:
        self.calls.append("send")
        return FailedSend(self._error)

    def begin_transaction(self) -> None:
        self.calls.append("begin_transaction")

    def send_offsets_to_transaction(self, *_: object) -> None:
        self.calls.append("send_offsets_to_transaction")

    def commit_transaction(self) -> None:
        self.calls.append("commit_transaction")

    def force_close(self) -> None: ...

    def join(self, timeout: float) -> None: ...

    def close(self, timeout: float) -> None:
        self.calls.append("close")


def refused_with(error: kafka_errors.KafkaError) -> Exception:
    """What a sink raises whose record the broker refuses: nothing of it may be committed."""
    sink = KafkaSink(KafkaPolicy(), DeliveryPolicy(), Member("p", "g", "host", 0))
    producer = FailingProducer(error)
    sink._producer = producer
    record = OutputRecord(OutputTopic.DEAD_LETTERS, b"k", b"v", ())
    with pytest.raises((Retry, Halt, OutcomeTooLarge)) as raised:
        sink.publish((record,), {}, "group")
    assert producer.calls == ["begin_transaction", "send", "close"]
    assert not sink.ready
    return raised.value
