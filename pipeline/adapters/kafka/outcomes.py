"""Reading topics back, as a downstream consumer does: for the demo and for tests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from kafka import KafkaConsumer, TopicPartition

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


class OutcomeReader:
    """Reads the committed records of the output topics from their beginning. Belongs to no group
    and commits nothing."""

    def __init__(self, kafka: KafkaPolicy) -> None:
        """Connect.

        Raises:
            Retry, Halt: as ``administrating``, here and in the methods.
        """
        self._roles = {kafka.output_topics.name(role): role for role in OutputTopic}
        options = common_options(kafka, "clipstream-outcomes") | {
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "fetch_max_wait_ms": 100,
        }
        with administrating("reading outcomes"):
            self._consumer = connect(KafkaConsumer, options)
            self._partitions = [
                TopicPartition(name, number)
                for name in self._roles
                for number in sorted(self._consumer.partitions_for_topic(name) or ())
            ]
            self._consumer.assign(self._partitions)
            self._consumer.seek_to_beginning(*self._partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def poll(self, timeout_s: float) -> Iterator[PublishedOutcome]:
        """Records that have become visible since the last poll. Waits up to ``timeout_s`` for the
        first one."""
        with administrating("reading outcomes"):
            polled = self._consumer.poll(timeout_ms=round(timeout_s * 1000))
        for partition, records in polled.items():
            for record in records:
                yield PublishedOutcome(
                    self._roles[partition.topic],
                    record.partition,
                    record.offset,
                    record.key,
                    record.value or b"",
                    {name: value or b"" for name, value in record.headers},
                    record.timestamp,
                )

    def rest(self, within_s: float = REST_S) -> Iterator[PublishedOutcome]:
        """All records that are visible by now and have not been polled.

        Raises:
            TimeoutError: they cannot be read within the time.
        """
        with administrating("reading outcomes"):
            ends: dict[TopicPartition, int] = self._consumer.end_offsets(self._partitions)
        deadline = time.monotonic() + within_s
        while not self._are_reached(ends):
            if time.monotonic() > deadline:
                raise TimeoutError(f"kafka: cannot read all outcomes back within {within_s:g} s")
            yield from self.poll(POLL_S)

    def _are_reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        with administrating("reading outcomes"):
            return all(self._consumer.position(tp) >= end for tp, end in ends.items())


def input_keys(kafka: KafkaPolicy, within_s: float = REST_S) -> Iterator[tuple[int, int, bytes]]:
    """Partition, offset and key of every record that is on the one input topic by now.

    Raises:
        TimeoutError: it cannot be read within the time.
    """
    (topic,) = kafka.input_topics
    options = common_options(kafka, "clipstream-input") | {"enable_auto_commit": False}
    with closing(connect(KafkaConsumer, options)) as consumer:
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        deadline = time.monotonic() + within_s
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"kafka: cannot read {topic} back within {within_s:g} s")
            for partition, records in consumer.poll(timeout_ms=round(POLL_S * 1000)).items():
                for record in records:
                    yield partition.partition, record.offset, record.key or b""
