"""Finds published classifications and embeddings again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.kafka.recorded.topic import RecordedTopic
from pipeline.errors import Halt
from pipeline.events.published import ClassificationEvent, EmbeddingEvent, as_text
from pipeline.records import Partition, Position, Record

NEAR_MS = 10 * 60 * 1000
"""Outcomes of one image are sent in one transaction, so their records were made within this time
of each other."""

_POSITION = re.compile(r"([A-Za-z0-9._-]+)\[([0-9]+)\]@([0-9]+)")


def position_of(text: str) -> Position | None:
    """The position that ``topic[partition]@offset`` names, as messages write it. None for another
    text."""
    found = _POSITION.fullmatch(text)
    if found is None:
        return None
    return Position(Partition(found[1], int(found[2])), int(found[3]))


def record_at(kafka: KafkaPolicy, position: Position) -> Record:
    """
    Raises:
        Retry: the broker does not answer.
        Halt: ``event.unreadable``: there is no such record any more; or the topic is missing, or
            may not be read.
    """
    with RecordedTopic(kafka, position.partition.topic) as topic:
        record = topic.at(position.partition.number, position.offset)
    if record is None:
        raise Halt(
            "event.unreadable",
            f"{position}: there is no record; it was deleted by the topic's retention, or the "
            "offset is a transaction's marker: look the offset up again",
        )
    return record


def classification_of(record: Record) -> ClassificationEvent:
    """
    Raises:
        Halt: ``event.unreadable``.
    """
    try:
        value = json.loads(record.value or b"")
    except ValueError as error:
        raise Halt(
            "event.unreadable", f"{record.position}: is no JSON ({error}); name a classification"
        ) from error
    return ClassificationEvent.of(value, as_text(record.headers))


def embedding_of(
    kafka: KafkaPolicy, classification_id: str, at_ms: int | None
) -> EmbeddingEvent | None:
    """The embedding whose header ``classification.id`` is this. None if it is not on the
    embeddings topic any more, or was never published. ``at_ms`` is when the classification was
    published; without it the whole topic is read.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    since_ms = None if at_ms is None else at_ms - NEAR_MS
    with RecordedTopic(kafka, kafka.output_topics.embeddings) as topic:
        for record in topic.records(since_ms=since_ms):
            headers = as_text(record.headers)
            if headers.get("classification.id") == classification_id:
                return EmbeddingEvent.of(record.value or b"", headers)
    return None


@dataclass(frozen=True, slots=True)
class RecordedEmbedding:
    """An embedding of the embeddings topic. ``at_ms`` is when it was published."""

    event: EmbeddingEvent
    at_ms: int


def embeddings(
    kafka: KafkaPolicy, since: datetime | None, newest: int | None
) -> Iterator[RecordedEmbedding]:
    """The embeddings that are on the topic by now. ``since`` and ``newest`` as for
    ``RecordedTopic.records``. Records of other kinds are passed over.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    since_ms = None if since is None else round(since.timestamp() * 1000)
    with RecordedTopic(kafka, kafka.output_topics.embeddings) as topic:
        for record in topic.records(since_ms, newest):
            try:
                event = EmbeddingEvent.of(record.value or b"", as_text(record.headers))
            except Halt:
                continue
            yield RecordedEmbedding(event, record.timestamp_ms)


def classifications(
    kafka: KafkaPolicy, ids: Sequence[str], since_ms: int
) -> dict[str, ClassificationEvent]:
    """The classifications with these ids that were published from about ``since_ms`` on, by id.
    Those that are not there any more are left out.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    wanted, found = set(ids), {}
    if not wanted:
        return {}
    with RecordedTopic(kafka, kafka.output_topics.classifications) as topic:
        for record in topic.records(since_ms=since_ms - NEAR_MS):
            own_id = as_text(record.headers).get("ce_id", "")
            if own_id in wanted:
                found[own_id] = classification_of(record)
                if len(found) == len(wanted):
                    break
    return found
