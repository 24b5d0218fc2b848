"""Reading topics back, as a downstream consumer does: for the demo and for tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.failures import administrating
from pipeline.adapters.kafka.policy import KafkaPolicy, common_options
from pipeline.records import OutputTopic

POLL_S = 0.2
REST_S = 60.0


@dataclass(frozen=True, slots=True)
class PublishedOutcome:
    """One visible record of an output topic. Of a repeated header the last value counts."""

    topic: OutputTopic
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    timestamp_ms: int = 0
    """When the record was published."""


class _Topics:
    """A consumer of whole topics from their beginning. Belongs to no group and commits nothing."""

    def __init__(
        self, kafka: KafkaPolicy, names: Iterable[str], what: str, options: dict[str, Any]
    ) -> None:
        """Connect. ``what`` names the records in messages.

        Raises:
            Retry, Halt: as ``administrating``, here and in the methods.
        """
        self._what = what
        merged = common_options(kafka, f"clipstream-{what}") | {"enable_auto_commit": False}
        with self._reading():
            self._consumer = connect(KafkaConsumer, merged | options)
        with ExitStack() as failing, self._reading():
            failing.callback(self.close)
            self._partitions = [
                TopicPartition(name, number)
                for name in names
                for number in sorted(self._consumer.partitions_for_topic(name) or ())
            ]
            self._consumer.assign(self._partitions)
            self._consumer.seek_to_beginning(*self._partitions)
            failing.pop_all()

    def close(self) -> None:
        self._consumer.close()

    def poll(self, timeout_s: float) -> Iterator[ConsumerRecord]:
        """New records. Waits up to ``timeout_s`` for the first one."""
        with self._reading():
            polled = self._consumer.poll(timeout_ms=round(timeout_s * 1000))
        for records in polled.values():
            yield from records

    def rest(self, within_s: float) -> Iterator[ConsumerRecord]:
        """All records that are there by now and have not been polled.

        Raises:
            TimeoutError: they cannot be read within the time.
        """
        with self._reading():
            ends: dict[TopicPartition, int] = self._consumer.end_offsets(self._partitions)
        deadline = time.monotonic() + within_s
        while not self._are_reached(ends):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"kafka: cannot read all {self._what} back within {within_s:g} s"
                )
            yield from self.poll(POLL_S)

    def _are_reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        with self._reading():
            return all(self._consumer.position(tp) >= end for tp, end in ends.items())

    def _reading(self) -> AbstractContextManager[None]:
        return administrating(f"reading {self._what}")


class OutcomeReader:
    """Reads the committed records of the output topics from their beginning. Belongs to no group
    and commits nothing."""

    def __init__(self, kafka: KafkaPolicy) -> None:
        """Connect.

        Raises:
            Retry, Halt: as ``administrating``, here and in the methods.
        """
        self._roles = {name: role for role, name in kafka.output_topics.in_use.items()}
        options = {"isolation_level": "read_committed", "fetch_max_wait_ms": 100}
        self._topics = _Topics(kafka, self._roles, "outcomes", options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._topics.close()

    def poll(self, timeout_s: float) -> Iterator[PublishedOutcome]:
        """Records that have become visible since the last poll. Waits up to ``timeout_s`` for the
        first one."""
        return map(self._outcome, self._topics.poll(timeout_s))

    def rest(self, within_s: float = REST_S) -> Iterator[PublishedOutcome]:
        """All records that are visible by now and have not been polled.

        Raises:
            TimeoutError: they cannot be read within the time.
        """
        return map(self._outcome, self._topics.rest(within_s))

    def _outcome(self, record: ConsumerRecord) -> PublishedOutcome:
        return PublishedOutcome(
            self._roles[record.topic],
            record.partition,
            record.offset,
            record.key,
            record.value or b"",
            {name: value or b"" for name, value in record.headers},
            record.timestamp,
        )


def input_keys(kafka: KafkaPolicy, within_s: float = REST_S) -> Iterator[tuple[int, int, bytes]]:
    """Partition, offset and key of every record that is on the input topics by now.

    Raises:
        Retry, Halt: as ``administrating``.
        TimeoutError: they cannot be read within the time.
    """
    with closing(_Topics(kafka, kafka.input_topics, "references", {})) as topics:
        for record in topics.rest(within_s):
            yield record.partition, record.offset, record.key or b""
