"""The types of the published events."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    """CloudEvents types. The major version is part of the name.

    Version 1 is about objects in buckets and version 2 about images that only a URI names. Both are
    published side by side: the reference decides.
    """

    CLASSIFICATION = "clipstream.classification.v1"
    EMBEDDING = "clipstream.embedding.v1"
    DEAD_LETTER = "clipstream.dead-letter.v1"
    REPLAY = "clipstream.replay.v1"
    CLASSIFICATION_V2 = "clipstream.classification.v2"
    EMBEDDING_V2 = "clipstream.embedding.v2"
    DEAD_LETTER_V2 = "clipstream.dead-letter.v2"
    SERVED_IMAGE = "clipstream.served-image.v1"
    SERVED_EMBEDDING = "clipstream.served-embedding.v1"
    SERVED_ERROR = "clipstream.served-error.v1"
    BACKFILL_CLASSIFICATION = "clipstream.backfill-classification.v1"
    BACKFILL_EMBEDDING = "clipstream.backfill-embedding.v1"
    BACKFILL_DEAD_LETTER = "clipstream.backfill-dead-letter.v1"
    ACTION = "clipstream.action.v1"
    REVIEW = "clipstream.review.v1"
    REMOVAL = "clipstream.removal.v1"
    LABEL_SET = "clipstream.label-set.v1"


DEAD_LETTERS = frozenset({EventType.DEAD_LETTER, EventType.DEAD_LETTER_V2})


class Payload(StrEnum):
    """What a dead letter's value is: header ``dlq.payload``."""

    REFERENCE = "reference"
    RECORD = "record"
    OMITTED = "omitted"
