"""The headers of the published events: every header once, with its meaning.

Within a type's major version, headers are only added, and only with ``required=False``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pipeline.events.action_headers import ACTION_HEADERS
from pipeline.events.header import (
    BYTES_CONTENT,
    CONTENT_ID,
    DATA_SCHEMA,
    DECISION,
    ID,
    JSON_CONTENT,
    NUMBER,
    REPLAYED,
    SHA256,
    SOURCE,
    SPECVERSION,
    SUBJECT,
    TIME,
    TRACEPARENT,
    TYPE,
    UUID5,
    VECTOR,
    VERSION,
    Header,
)
from pipeline.events.types import EventType
from pipeline.records import REPLAY_COUNT, REPLAY_OF

ORIGINAL_PREFIX = "original."
"""Prefix of each header of an unparsable record. The headers keep their order and their bytes."""


SERVED = (
    SPECVERSION,
    TYPE,
    Header("ce_source", "`/clipstream/serve`.", pattern="^/clipstream/serve$"),
    Header(
        "ce_id",
        "UUIDv5 of key name, request id, route, index, subject and type. A request that is sent "
        "again with the same `x-request-id` has the same ids.",
        pattern=UUID5,
    ),
    Header(
        "ce_subject",
        "URI of the image, without the query of an `https://` URI. For an image whose bytes were "
        "in the request: `sha256:` and the hash of the bytes, if it is known.",
        required=False,
    ),
)

_V1: dict[EventType, tuple[Header, ...]] = {
    EventType.CLASSIFICATION: (
        SPECVERSION,
        TYPE,
        SOURCE,
        ID,
        TIME,
        SUBJECT,
        JSON_CONTENT,
        DATA_SCHEMA,
        TRACEPARENT,
        *REPLAYED,
        *DECISION,
    ),
    EventType.EMBEDDING: (
        SPECVERSION,
        TYPE,
        SOURCE,
        ID,
        TIME,
        SUBJECT,
        BYTES_CONTENT,
        TRACEPARENT,
        *REPLAYED,
        Header(
            "classification.id",
            "`ce_id` of the classification of the same image.",
            pattern=UUID5,
        ),
        *VECTOR,
        Header("model.name", "`model.name` of the classification."),
        Header("model.revision", "`model.revision` of the classification."),
        Header("model.precision", "`model.precision` of the classification."),
        Header("model.engine", "`model.engine` of the classification."),
        Header("decode.mode", "`decode_mode` of the classification."),
        Header("decode.crop", "`decode_crop` of the classification.", required=False),
        Header(
            "object.sha256",
            "SHA-256 of the object's stored bytes.",
            pattern=SHA256,
        ),
        Header(
            "object.uri",
            "URI of the object, without the query of an `https://` URI. Absent in events of "
            "versions that did not write it.",
            required=False,
        ),
        Header("object.etag", "ETag of the object that was read.", required=False),
        Header("object.version-id", "Version of the object that was read.", required=False),
        Header("tenant", "Tenant that the route decided.", required=False),
        VERSION,
        CONTENT_ID,
    ),
    EventType.DEAD_LETTER: (
        SPECVERSION,
        TYPE,
        SOURCE,
        ID,
        TIME,
        Header(
            "ce_subject",
            "The reference's id. Without an id, its URI. Absent if there is no reference.",
            required=False,
        ),
        Header(
            "content-type",
            "`application/json` for a reference, `application/octet-stream` for a record. "
            "Absent if the payload is omitted.",
            required=False,
        ),
        Header("ce_dataschema", "For a reference only: `$id` of its JSON Schema.", required=False),
        TRACEPARENT,
        *REPLAYED,
        Header("dlq.code", "Stable code, listed in codes.md. New codes may appear."),
        Header("dlq.stage", "Stage that gave up: the part of the code before the dot."),
        Header(
            "dlq.message",
            "For people: one line of at most 1,024 bytes. The wording may change.",
        ),
        Header(
            "dlq.format",
            "For `decode.unsupported_format` only: the recognised format (`HEIF`, `SVG`, "
            "`PDF`, `MP4`, ...), or `unknown`. New names may appear.",
            required=False,
        ),
        Header("dlq.attempts", "Number of attempts.", pattern=NUMBER),
        Header("dlq.topic", "Input topic."),
        Header("dlq.partition", "Partition of the input topic.", pattern=NUMBER),
        Header("dlq.offset", "Offset of the record.", pattern=NUMBER),
        Header("dlq.index", "Place among the record's references, from 0.", pattern=NUMBER),
        Header(
            "dlq.timestamp",
            "Timestamp of the input record, RFC 3339 in UTC. Absent if the record has none.",
            required=False,
        ),
        Header(
            "dlq.unclassified-action",
            "The label set's action for images that nobody looked at. `review` if no label set "
            "was chosen yet. An image that nobody looked at must not pass unseen.",
        ),
        Header(
            "dlq.payload",
            "What the value is. `reference`: one native reference, ready to be replayed. "
            "`record`: the input record's value, byte for byte; if one of several entries was "
            "bad, only that entry, in the record's format. `omitted`: empty, because the value "
            "did not fit or the broker could not return the record.",
            pattern="^(reference|record|omitted)$",
        ),
        Header(
            "dlq.full-bytes",
            "For a payload that did not fit: bytes of key, value and headers of the complete "
            "dead letter. Compare this number with the topic's limit.",
            required=False,
            pattern=NUMBER,
        ),
        Header(
            "dlq.value-bytes",
            "For a payload that did not fit: size of the omitted value in bytes.",
            required=False,
            pattern=NUMBER,
        ),
        Header(
            "dlq.value-sha256",
            "For a payload that did not fit: SHA-256 of the omitted value.",
            required=False,
            pattern=SHA256,
        ),
        Header(
            "dlq.null-headers",
            "For a record: JSON array of the places, from 0, of the original headers whose "
            "value was null and is now empty. Absent if there is no such header.",
            required=False,
            pattern=r"^\[[0-9]+(,[0-9]+)*\]$",
        ),
        Header(
            "dlq.null-value",
            "For a record: `true` if its value was null and is now empty. Absent otherwise.",
            required=False,
            pattern="^true$",
        ),
        Header("dlq.version", "Version of Clipstream that wrote the dead letter."),
    ),
    EventType.REPLAY: (
        SPECVERSION,
        TYPE,
        Header("ce_source", "`ce_source` of the dead letter."),
        Header("ce_id", "UUIDv5 of the dead letter's `ce_id` and the type.", pattern=UUID5),
        Header("ce_subject", "`ce_subject` of the dead letter.", required=False),
        Header(REPLAY_OF, "`ce_id` of the dead letter that was replayed.", pattern=UUID5),
        Header(
            REPLAY_COUNT,
            "How often the reference has been replayed so far, from 1.",
            pattern=NUMBER,
        ),
    ),
}

_V2 = {
    EventType.CLASSIFICATION_V2: EventType.CLASSIFICATION,
    EventType.EMBEDDING_V2: EventType.EMBEDDING,
    EventType.DEAD_LETTER_V2: EventType.DEAD_LETTER,
}

_SERVED: dict[EventType, tuple[Header, ...]] = {
    EventType.SERVED_IMAGE: (*SERVED, JSON_CONTENT, DATA_SCHEMA),
    EventType.SERVED_EMBEDDING: (
        *SERVED,
        BYTES_CONTENT,
        Header("image.id", "`ce_id` of the served-image event of the image.", pattern=UUID5),
        *VECTOR,
        Header("model.name", "`model.name` of the served-image event."),
        Header("model.revision", "`model.revision` of the served-image event."),
        Header("model.precision", "`model.precision` of the served-image event."),
        Header("model.engine", "`model.engine` of the served-image event."),
        Header("decode.mode", "`decode_mode` of the served-image event."),
        Header("decode.crop", "`decode_crop` of the served-image event."),
        Header("object.sha256", "SHA-256 of the image's bytes.", pattern=SHA256),
        VERSION,
        CONTENT_ID,
    ),
    EventType.SERVED_ERROR: (*SERVED, JSON_CONTENT, DATA_SCHEMA),
}

_OF_RECORDS = frozenset(
    {"ce_time", "traceparent", REPLAY_OF, REPLAY_COUNT}
    | {"dlq.partition", "dlq.offset", "dlq.index", "dlq.timestamp"}
    | {"dlq.null-headers", "dlq.null-value"}
)
"""Headers that come from a record of the stream. A row of a backfill has none."""

_OF_SCORING = frozenset(header.name for header in DECISION)
"""Headers that need the label set. A row of a backfill is read back without it."""

_OF_ROWS: dict[str, tuple[Header, ...]] = {
    "ce_source": (
        Header(
            "ce_source",
            "`/clipstream/backfill/<job>`: the id of the job.",
            pattern=r"^/clipstream/backfill/[0-9A-Za-z-]+$",
        ),
    ),
    "ce_id": (
        Header(
            "ce_id",
            "UUIDv5 of job id, shard, row and type. The same row has the same id whenever it is "
            "published.",
            pattern=UUID5,
        ),
    ),
    "ce_subject": (SUBJECT,),
    "content.id": (
        replace(
            CONTENT_ID, meaning="`content_id` of the same image in other events.", required=True
        ),
    ),
    "dlq.topic": (
        Header("dlq.job", "Id of the job."),
        Header("dlq.shard", "Number of the shard in the job, from 0.", pattern=NUMBER),
        Header("dlq.row", "Number of the row in the shard, from 0.", pattern=NUMBER),
    ),
    "dlq.payload": (
        Header(
            "dlq.payload",
            "What the value is. `reference`: one native reference. `omitted`: empty, because the "
            "value did not fit.",
            pattern="^(reference|omitted)$",
        ),
    ),
}


def _of_rows(stream: EventType) -> tuple[Header, ...]:
    """The headers of a type of the stream, about a row in place of a record."""
    left_out = _OF_RECORDS | _OF_SCORING
    kept = [header for header in _V1[stream] if header.name not in left_out]
    return tuple(own for header in kept for own in _OF_ROWS.get(header.name, (header,)))


_BACKFILL = {
    EventType.BACKFILL_CLASSIFICATION: _of_rows(EventType.CLASSIFICATION),
    EventType.BACKFILL_EMBEDDING: _of_rows(EventType.EMBEDDING),
    EventType.BACKFILL_DEAD_LETTER: _of_rows(EventType.DEAD_LETTER),
}

_LABEL_SET: dict[EventType, tuple[Header, ...]] = {
    EventType.LABEL_SET: (
        SPECVERSION,
        TYPE,
        Header("ce_source", "`/clipstream/label-sets`.", pattern="^/clipstream/label-sets$"),
        Header("ce_id", "UUIDv5 of the version and the type.", pattern=UUID5),
        Header("ce_time", "`first_seen` of the value."),
        Header("ce_subject", "Name of the label set."),
        JSON_CONTENT,
        DATA_SCHEMA,
    )
}

HEADERS: Mapping[EventType, tuple[Header, ...]] = MappingProxyType(
    _V1
    | {newer: _V1[older] for newer, older in _V2.items()}
    | _SERVED
    | _BACKFILL
    | ACTION_HEADERS
    | _LABEL_SET
)
"""Versions 1 and 2 have the same headers; their values differ."""
