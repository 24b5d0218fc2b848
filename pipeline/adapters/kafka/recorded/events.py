"""Finds published classifications and embeddings again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.kafka.recorded.topic import RecordedTopic
from pipeline.errors import Halt
from pipeline.events.published import ClassificationEvent, EmbeddingEvent, as_text
from pipeline.records import ModelIdentity, Partition, Position, Record

NEAR_MS = 60_000
"""Outcomes of one image are sent in one transaction, which takes 15 s at most, so their records
were made within this time of each other."""

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
    published: the records of the minutes around it are read, and without it the whole topic.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    since_ms, until_ms = (None, None) if at_ms is None else (at_ms - NEAR_MS, at_ms + NEAR_MS)
    with RecordedTopic(kafka, kafka.output_topics.embeddings) as topic:
        for record in topic.records(since_ms, until_ms=until_ms):
            headers = as_text(record.headers)
            if headers.get("classification.id") == classification_id:
                return EmbeddingEvent.of(record.value or b"", headers)
    return None


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """A classified image. ``id`` is that of its classification. ``at_s`` is when its reference was
    sent, else when its classification was published, in Unix seconds. ``has_views``: it was scored
    by several views."""

    id: str
    uri: str | None
    etag: str | None
    version_id: str | None
    at_s: float
    has_views: bool = False


@dataclass(frozen=True, slots=True)
class ScoredImages:
    """Classified images by the ids of their classifications. All were embedded by ``model``, which
    is None without images. ``others`` were embedded by other models, ``unscored`` were not scored
    with the label set."""

    images: Mapping[str, ScoredImage]
    model: ModelIdentity | None
    others: int
    unscored: int


def classified(
    kafka: KafkaPolicy,
    since: datetime | None,
    newest: int | None,
    until: datetime | None = None,
) -> Iterator[tuple[ScoredImage, ClassificationEvent]]:
    """The images on the classifications topic. ``since``, ``newest`` and ``until`` are as for
    ``RecordedTopic.records``.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    since_ms, until_ms = (
        None if each is None else round(each.timestamp() * 1000) for each in (since, until)
    )
    with RecordedTopic(kafka, kafka.output_topics.classifications) as topic:
        for record in topic.records(since_ms, newest, until_ms):
            try:
                event = classification_of(record)
            except Halt:
                continue  # something else on the same topic
            yield (
                ScoredImage(
                    event.id or str(record.position),
                    event.uri,
                    event.object["etag"],
                    event.object["version_id"],
                    _sent_s(event, record),
                    bool(event.views),
                ),
                event,
            )


def scored_images(
    kafka: KafkaPolicy,
    label_set: str | None,
    since: datetime | None,
    newest: int | None,
    until: datetime | None = None,
) -> ScoredImages:
    """The images on the classifications topic that a label set of this name has scored, or all.

    Raises:
        Retry, Halt: as ``classified``.
    """
    found: dict[tuple[str, str], dict[str, ScoredImage]] = {}
    models: dict[tuple[str, str], ModelIdentity] = {}
    newest_model, unscored = None, 0
    for image, event in classified(kafka, since, newest, until):
        if label_set is not None and label_set not in {e.label_set for e in event.results}:
            unscored += 1
            continue
        newest_model = (event.model.name, event.model.revision)
        models[newest_model] = event.model
        found.setdefault(newest_model, {})[image.id] = image
    images = {} if newest_model is None else found.pop(newest_model)
    model = None if newest_model is None else models[newest_model]
    return ScoredImages(images, model, sum(map(len, found.values())), unscored)


def _sent_s(event: ClassificationEvent, record: Record) -> float:
    sent = event.headers.get("ce_time")
    if sent is None:
        return record.timestamp_ms / 1000
    return datetime.fromisoformat(sent).timestamp()


def embeddings(
    kafka: KafkaPolicy, images: Mapping[str, ScoredImage], since: datetime | None
) -> Iterator[tuple[str, EmbeddingEvent]]:
    """The embeddings of these images that are on the topic, each with its classification's id.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    since_ms = None if since is None else round(since.timestamp() * 1000) - NEAR_MS
    missing = set(images)
    with RecordedTopic(kafka, kafka.output_topics.embeddings) as topic:
        for record in topic.records(since_ms):
            headers = as_text(record.headers)
            own_id = headers.get("classification.id", "")
            if own_id not in missing:
                continue
            missing.discard(own_id)
            yield own_id, EmbeddingEvent.of(record.value or b"", headers)
            if not missing:
                return
