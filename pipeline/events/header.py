"""What a header of an event is, and the headers that several types have."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.records import REPLAY_COUNT, REPLAY_OF


@dataclass(frozen=True, slots=True)
class Header:
    """One header of a type. ``pattern`` (ECMA 262) matches its text."""

    name: str
    meaning: str
    required: bool = True
    pattern: str | None = None


NUMBER = r"^[0-9]+$"
SHA256 = r"^[0-9a-f]{64}$"
UUID5 = r"^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

SPECVERSION = Header("ce_specversion", "Version of CloudEvents: `1.0`.", pattern=r"^1\.0$")
TYPE = Header("ce_type", "The event's type, with its major version.")
SOURCE = Header(
    "ce_source", "`/clipstream/<cluster id>/<group>/<input topic>`, each part percent-encoded."
)
ID = Header(
    "ce_id",
    "UUIDv5 of cluster id, group, topic UUID, partition, offset, index and type. Every delivery of "
    "the same outcome has the same id.",
    pattern=UUID5,
)
TIME = Header(
    "ce_time",
    "Timestamp of the input record, RFC 3339 in UTC. Absent if the record has none. The Kafka "
    "timestamp of the output record says when the event was written.",
    required=False,
)
TRACEPARENT = Header("traceparent", "Trace context of the input record, unchanged.", required=False)
REPLAYED = (
    Header(
        REPLAY_OF,
        "For a replayed reference only: `ce_id` of the dead letter that was replayed.",
        required=False,
        pattern=UUID5,
    ),
    Header(
        REPLAY_COUNT,
        "For a replayed reference only: how often it has been replayed, from 1.",
        required=False,
        pattern=NUMBER,
    ),
)
SUBJECT = Header("ce_subject", "The reference's id. Without an id, its URI.")
JSON_CONTENT = Header("content-type", "`application/json`.", pattern="^application/json$")
DATA_SCHEMA = Header("ce_dataschema", "`$id` of the value's JSON Schema.")

BYTES_CONTENT = Header("content-type", "`application/octet-stream`.")
VECTOR = (
    Header(
        "embedding.dtype",
        "`float32` or `float16`, little-endian.",
        pattern="^float(32|16)$",
    ),
    Header("embedding.dimension", "Number of elements of the embedding.", pattern=NUMBER),
    Header("embedding.normalised", "`true`: the length is 1, up to the dtype's rounding."),
)
VERSION = Header("clipstream.version", "Version of Clipstream that wrote the event.")
CONTENT_ID = Header(
    "content.id",
    "`content_id` of the same image in other events. Absent in events of versions that did not "
    "write it.",
    required=False,
    pattern=r"^[0-9a-f]{32}$",
)
DECISION = (
    Header(
        "decision",
        "`decision` of the result that counts most: one that is not its label set's default before "
        "one that is, then the one with the most less severe actions in its own set, then the one "
        "named first. Results with `shadow` do not count. If a list in `matches` has an action "
        "that none of the image's label sets has, the action of that list. Absent if no result "
        "counts, and in events of versions that did not write it.",
        required=False,
    ),
    Header(
        "decision.label-set",
        "Label set of that result. Absent as above, and if a list's action is the decision.",
        required=False,
    ),
    Header(
        "decision.label",
        "Matched label of that result that calls for the most severe action; of several, the one "
        "with the highest score. If `review_if` or a list in `matches` raised the decision, the "
        "label calls for less. Absent if no label matched, and with `decision.label-set`.",
        required=False,
    ),
)
