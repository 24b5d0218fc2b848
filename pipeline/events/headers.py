"""The headers of the published events, every one once, with its meaning.

Within a type's major version headers are only added, and only with ``required=False``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pipeline.records import REPLAY_COUNT, REPLAY_OF

ORIGINAL_PREFIX = "original."
"""Before each header of an unparsable record, which keep their order, repetitions and bytes."""


class EventType(StrEnum):
    """CloudEvents types; the major version is part of the name."""

    CLASSIFICATION = "clipstream.classification.v1"
    EMBEDDING = "clipstream.embedding.v1"
    DEAD_LETTER = "clipstream.dead-letter.v1"
    REPLAY = "clipstream.replay.v1"


class Payload(StrEnum):
    """What a dead letter's value is: header ``dlq.payload``."""

    REFERENCE = "reference"
    RECORD = "record"
    OMITTED = "omitted"


@dataclass(frozen=True, slots=True)
class Header:
    """One header of a type. ``pattern`` (ECMA 262) holds for its text."""

    name: str
    meaning: str
    required: bool = True
    pattern: str | None = None


_NUMBER = r"^[0-9]+$"
_SHA256 = r"^[0-9a-f]{64}$"
_UUID5 = r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

SPECVERSION = Header("ce_specversion", "Version of CloudEvents: `1.0`.", pattern=r"^1\.0$")
TYPE = Header("ce_type", "The event's type, with its major version.")
SOURCE = Header(
    "ce_source", "`/clipstream/<cluster id>/<group>/<input topic>`, each part percent-encoded."
)
ID = Header(
    "ce_id",
    "UUIDv5 of cluster id, group, topic UUID, partition, offset, index and type: the same at every "
    "delivery of the same outcome.",
    pattern=_UUID5,
)
TIME = Header(
    "ce_time",
    "Timestamp of the input record, RFC 3339 in UTC; absent if it has none. The output record's "
    "own Kafka timestamp says when it was written.",
    required=False,
)
TRACEPARENT = Header("traceparent", "The input record's trace context, unchanged.", required=False)
REPLAYED = (
    Header(
        REPLAY_OF,
        "Of a replayed reference: `ce_id` of the dead letter that it repeats; else absent.",
        required=False,
        pattern=_UUID5,
    ),
    Header(
        REPLAY_COUNT,
        "Of a replayed reference: how often it has been replayed, from 1; else absent.",
        required=False,
        pattern=_NUMBER,
    ),
)
SUBJECT = Header("ce_subject", "The reference's id, else its URI.")
JSON_CONTENT = Header("content-type", "`application/json`", pattern="^application/json$")
DATA_SCHEMA = Header("ce_dataschema", "`$id` of the value's JSON Schema.")

HEADERS: Mapping[EventType, tuple[Header, ...]] = MappingProxyType(
    {
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
        ),
        EventType.EMBEDDING: (
            SPECVERSION,
            TYPE,
            SOURCE,
            ID,
            TIME,
            SUBJECT,
            Header("content-type", "`application/octet-stream`"),
            TRACEPARENT,
            *REPLAYED,
            Header(
                "classification.id",
                "`ce_id` of the classification of the same image.",
                pattern=_UUID5,
            ),
            Header(
                "embedding.dtype",
                "`float32` or `float16`, little-endian.",
                pattern="^float(32|16)$",
            ),
            Header("embedding.dimension", "Number of elements.", pattern=_NUMBER),
            Header("embedding.normalised", "`true`: of unit length, up to the dtype's rounding."),
            Header("model.name", "As `model.name` of the classification."),
            Header("model.revision", "As `model.revision` of the classification."),
            Header("model.precision", "As `model.precision` of the classification."),
            Header("model.engine", "As `model.engine` of the classification."),
            Header("decode.mode", "As `decode_mode` of the classification."),
            Header("decode.crop", "As `decode_crop` of the classification.", required=False),
            Header(
                "object.sha256",
                "SHA-256 of the object's bytes as they are stored.",
                pattern=_SHA256,
            ),
            Header("object.etag", "ETag of the object as it was read.", required=False),
            Header("object.version-id", "Version that was read.", required=False),
            Header("tenant", "Tenant that the route decided.", required=False),
            Header("clipstream.version", "Version that wrote the event."),
        ),
        EventType.DEAD_LETTER: (
            SPECVERSION,
            TYPE,
            SOURCE,
            ID,
            TIME,
            Header(
                "ce_subject",
                "The reference's id, else its URI; absent if there is no reference.",
                required=False,
            ),
            Header(
                "content-type",
                "`application/json` of a reference, `application/octet-stream` of a record; absent "
                "if the payload is omitted.",
                required=False,
            ),
            Header(
                "ce_dataschema", "Of a reference only: `$id` of its JSON Schema.", required=False
            ),
            TRACEPARENT,
            *REPLAYED,
            Header("dlq.code", "Stable code: see codes.md. New codes may appear."),
            Header("dlq.stage", "Stage that gave up: the code's part before its dot."),
            Header(
                "dlq.message", "For people: one line of at most 1,024 bytes; wording may change."
            ),
            Header(
                "dlq.format",
                "Of `decode.unsupported_format`: the format that was recognised (`HEIF`, `SVG`, "
                "`PDF`, `MP4`, ...), or `unknown`; else absent. New names may appear.",
                required=False,
            ),
            Header("dlq.attempts", "Attempts that were made.", pattern=_NUMBER),
            Header("dlq.topic", "Input topic."),
            Header("dlq.partition", "Partition of the input topic.", pattern=_NUMBER),
            Header("dlq.offset", "Offset of the record.", pattern=_NUMBER),
            Header("dlq.index", "Place among the record's references, from 0.", pattern=_NUMBER),
            Header(
                "dlq.timestamp",
                "Timestamp of the input record, RFC 3339 in UTC; absent if it has none.",
                required=False,
            ),
            Header(
                "dlq.unclassified-action",
                "The label set's action for images that nobody looked at, `review` where no label "
                "set was chosen yet: what cannot be looked at must not pass unseen.",
            ),
            Header(
                "dlq.payload",
                "What the value is: `reference` (one native reference, ready to be replayed), "
                "`record` (the input record's value, byte for byte; of a bad entry among several, "
                "that entry alone in the record's format) or `omitted` (empty: it did not fit, or "
                "the broker could not return the record).",
                pattern="^(reference|record|omitted)$",
            ),
            Header(
                "dlq.full-bytes",
                "Of a payload that did not fit: bytes of key, value and headers of the dead letter "
                "with it; compare with the topic's limit.",
                required=False,
                pattern=_NUMBER,
            ),
            Header(
                "dlq.value-bytes",
                "Of a payload that did not fit: size of the value that is left out.",
                required=False,
                pattern=_NUMBER,
            ),
            Header(
                "dlq.value-sha256",
                "Of a payload that did not fit: SHA-256 of the value that is left out.",
                required=False,
                pattern=_SHA256,
            ),
            Header(
                "dlq.null-headers",
                "Of a record: JSON array of the places, from 0, of the original headers whose "
                "value was null and is now empty; absent if there is none.",
                required=False,
                pattern=r"^\[[0-9]+(,[0-9]+)*\]$",
            ),
            Header(
                "dlq.null-value",
                "Of a record: `true` if its value was null and is now empty; else absent.",
                required=False,
                pattern="^true$",
            ),
            Header("dlq.version", "Version of Clipstream that wrote the dead letter."),
        ),
        EventType.REPLAY: (
            SPECVERSION,
            TYPE,
            Header("ce_source", "As that of the dead letter."),
            Header("ce_id", "UUIDv5 of the dead letter's id and the type.", pattern=_UUID5),
            Header("ce_subject", "As that of the dead letter.", required=False),
            Header(REPLAY_OF, "`ce_id` of the dead letter that was replayed.", pattern=_UUID5),
            Header(
                REPLAY_COUNT,
                "How often the reference has been replayed by now, from 1.",
                pattern=_NUMBER,
            ),
        ),
    }
)
