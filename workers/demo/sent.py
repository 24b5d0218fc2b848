"""Reads the demo's input topic back, to learn the place of each message that was sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.adapters.kafka.outcomes import input_keys
from pipeline.adapters.kafka.policy import KafkaPolicy
from workers.demo.account import SentRecord
from workers.demo.messages import DemoMessage
from workers.embedded.processes import ServiceError

Found = tuple[int, int, bytes]
"""Partition, offset and key of a record."""


def sent_records(kafka: KafkaPolicy, sent: Sequence[DemoMessage]) -> list[SentRecord]:
    """The messages at their places, as the broker reports them, not the producer.

    Raises:
        ServiceError: the topic does not hold each message exactly once, and nothing else.
    """
    try:
        return placed(sent, input_keys(kafka))
    except TimeoutError as late:
        raise ServiceError(str(late)) from late


def placed(sent: Sequence[DemoMessage], found: Iterable[Found]) -> list[SentRecord]:
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
