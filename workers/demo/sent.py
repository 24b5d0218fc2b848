"""Reads the demo's input topic back, to learn the place of each message that was sent."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from kafka import KafkaConsumer, TopicPartition

from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.policy import KafkaPolicy, common_options
from workers.demo.account import SentRecord
from workers.demo.messages import DemoMessage
from workers.embedded.processes import ServiceError

READ_S = 60.0

Found = tuple[int, int, bytes]
"""Partition, offset and key of a record."""


def sent_records(kafka: KafkaPolicy, sent: Sequence[DemoMessage]) -> list[SentRecord]:
    """The messages at their places, as the broker reports them, not the producer.

    Raises:
        ServiceError: the topic does not hold each message exactly once, and nothing else.
    """
    return placed(sent, _read(kafka))


def placed(sent: Sequence[DemoMessage], found: Iterator[Found]) -> list[SentRecord]:
    """Match records with messages by key. No two messages share a key."""
    waiting = {message.key: message for message in sent}
    records = []
    for partition, offset, key in found:
        message = waiting.pop(key, None)
        if message is None:
            raise ServiceError(f"kafka: the input topic holds {key!r} twice, or nobody sent it")
        records.append(SentRecord(message, partition, offset))
    if waiting:
        raise ServiceError(
            f"kafka: {len(waiting)} of {len(sent)} messages are not on the input topic although "
            "the broker acknowledged them; look at the broker's log"
        )
    return records


def _read(kafka: KafkaPolicy) -> Iterator[Found]:
    (topic,) = kafka.input_topics
    options = common_options(kafka, "clipstream-demo") | {"enable_auto_commit": False}
    consumer = connect(KafkaConsumer, options)
    with contextlib.closing(consumer):
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        deadline = time.monotonic() + READ_S
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                raise ServiceError(f"kafka: cannot read {topic} back within {READ_S:g} s")
            for partition, records in consumer.poll(timeout_ms=200).items():
                for record in records:
                    yield partition.partition, record.offset, record.key or b""
