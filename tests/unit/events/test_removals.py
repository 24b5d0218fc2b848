"""Removals: what of a deletion is published, and where."""

from __future__ import annotations

import json
import uuid

from jsonschema import Draft202012Validator, FormatChecker

from pipeline.events import EventBuilder, EventContext, EventsPolicy, event_id
from pipeline.events.headers import HEADERS
from pipeline.events.schemas import REMOVAL_SCHEMA, schemas
from pipeline.events.types import EventType
from pipeline.records import (
    Origin,
    OutputRecord,
    OutputTopic,
    Partition,
    Position,
    Removal,
    Replay,
    Skipped,
)

CONTEXT = EventContext("cluster", "group", {"images": "a topic id"}, "1.2.3")
ORIGIN = Origin(Position(Partition("images", 3), 1234), 2, 1_767_225_600_123, b"a key")
REMOVAL = Removal(
    "photos",
    "café \x00 1.jpg",
    "ObjectRemoved:Delete",
    "v1",
    "request-1",
    "2026-01-01T00:00:00.000Z",
    "gallery",
)


def build(removal: Removal, origin: Origin = ORIGIN, **policy: bool) -> OutputRecord:
    builder = EventBuilder(CONTEXT, EventsPolicy(**policy), actions=True)
    (record,) = builder.records(origin, Skipped("deleted", removal))
    headers = {name: value.decode() for name, value in record.headers}
    for name, document in (
        (REMOVAL_SCHEMA, json.loads(record.value)),
        ("removal-headers.v1", headers),
    ):
        Draft202012Validator(schemas()[name], format_checker=FormatChecker()).validate(document)
    assert headers.keys() <= {header.name for header in HEADERS[EventType.REMOVAL]}
    return record


def test_a_removal_is_on_the_topic_of_embeddings_with_the_records_key() -> None:
    record = build(REMOVAL)
    assert record == build(REMOVAL, embeddings=False)
    assert (record.topic, record.key) == (OutputTopic.EMBEDDINGS, b"a key")
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"clipstream.removal.v1",
        "ce_source": b"/clipstream/cluster/group/images",
        "ce_id": event_id(CONTEXT, ORIGIN, EventType.REMOVAL).encode(),
        "ce_time": b"2026-01-01T00:00:00.123Z",
        "ce_subject": "s3://photos/café \\u0000 1.jpg".encode(),
        "content-type": b"application/json",
        "ce_dataschema": b"urn:clipstream:schema:removal:v1",
        "object.uri": "s3://photos/café \\u0000 1.jpg".encode(),
        "object.version-id": b"v1",
        "tenant": b"gallery",
    }
    assert json.loads(record.value) == {
        "uri": "s3://photos/café \x00 1.jpg",
        "bucket": "photos",
        "key": "café \x00 1.jpg",
        "version_id": "v1",
        "event": "ObjectRemoved:Delete",
        "notification_id": "request-1",
        "removed_at": "2026-01-01T00:00:00.000Z",
        "tenant": "gallery",
        "position": {"topic": "images", "partition": 3, "offset": 1234, "index": 2},
        "record_timestamp": "2026-01-01T00:00:00.123Z",
        "clipstream_version": "1.2.3",
    }


def test_what_a_notification_does_not_say_is_null_and_no_header() -> None:
    letter = str(uuid.uuid5(uuid.NAMESPACE_URL, "a letter"))
    origin = Origin(ORIGIN.position, 0, -1, replay=Replay(letter, 1))
    record = build(Removal("photos", "cat.jpg", "Object Deleted"), origin)
    value, headers = json.loads(record.value), dict(record.headers)
    for name in ("version_id", "notification_id", "removed_at", "tenant", "record_timestamp"):
        assert value[name] is None
    assert {"object.version-id", "tenant", "ce_time"}.isdisjoint(headers)
    assert headers["replay.of"] == letter.encode()
