"""Dead letters as records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.builder import MAX_SHRUNK_FIELD_BYTES
from pipeline.events.headers import HEADERS
from pipeline.events.parts import MAX_MESSAGE_BYTES
from pipeline.events.schemas import DEAD_LETTER_SCHEMA, schemas
from pipeline.events.types import EventType
from pipeline.records import (
    Asked,
    DeadLetter,
    ImageRef,
    Origin,
    OutputRecord,
    OutputTopic,
    Partition,
    Position,
    Record,
)
from pipeline.references import ReferencesPolicy, parse
from pipeline.routes import RoutePolicy, Router

HEADERS_VALIDATOR = Draft202012Validator(schemas()["dead-letter-headers.v1"])
CONTEXT = EventContext("cluster", "group", {"images": "topic-uuid"}, "1.2.3")
BUILDER = EventBuilder(CONTEXT, EventsPolicy())
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ORIGIN = Origin(Position(Partition("images", 3), 1234), 2, 1_767_225_600_123, b"a key", TRACE)
REF = ImageRef(
    bucket="photos",
    key="2026/café +1.jpg",
    label_sets=("shapes", "colours"),
    version_id="asked",
    etag="abc123",
    id="upload-1",
    tenant="gallery",
    metadata={"album": ["winter", {"deep": None}]},
)
OF_REFERENCE = DeadLetter(
    "fetch.not_found", "fetch: gone; look", 3, ref=REF, unclassified_action="block"
)
RECORD = Record(
    ORIGIN.position,
    ORIGIN.timestamp_ms,
    b"\xff key",
    b"\x00\xff not json",
    (("ce_id", b"theirs"), ("x", b"\xfe"), ("x", None), ("content-type", b""), ("é", None)),
)
OF_RECORD = DeadLetter("reference.not_json", "not JSON", 1)
UNREADABLE = DeadLetter("record.corrupt", "bad checksum", 3)
UNREADABLE_ORIGIN = Origin(Position(Partition("images", 0), 5), 0, -1)


def build(
    letter: DeadLetter, record: Record | None = None, origin: Origin = ORIGIN
) -> OutputRecord:
    (published,) = BUILDER.records(origin, letter, record)
    assert published.topic is OutputTopic.DEAD_LETTERS
    return published


def ours(record: OutputRecord) -> dict[str, str]:
    """Headers that are not the original record's; checked against the catalogue."""
    pairs = [(name, value) for name, value in record.headers if not name.startswith("original.")]
    headers = {name: value.decode() for name, value in pairs}
    assert len(headers) == len(pairs)
    HEADERS_VALIDATOR.validate(headers)
    assert headers.keys() <= {header.name for header in HEADERS[EventType.DEAD_LETTER]}
    return headers


def test_a_dead_letter_of_an_unsupported_format_names_it_in_a_header() -> None:
    letter = replace(OF_REFERENCE, code="decode.unsupported_format", format="JPEG XL")
    assert ours(build(letter))["dlq.format"] == "JPEG XL"
    assert dict(BUILDER.shrink(ORIGIN, letter)[0].headers)["dlq.format"] == b"JPEG XL"
    assert "dlq.format" not in ours(build(OF_REFERENCE))


def test_a_dead_reference_says_what_happened_and_where() -> None:
    headers = ours(build(OF_REFERENCE))
    headers.pop("ce_id")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_type": "clipstream.dead-letter.v1",
        "ce_source": "/clipstream/cluster/group/images",
        "ce_time": "2026-01-01T00:00:00.123Z",
        "ce_subject": "upload-1",
        "traceparent": TRACE,
        "dlq.code": "fetch.not_found",
        "dlq.stage": "fetch",
        "dlq.message": "fetch: gone; look",
        "dlq.attempts": "3",
        "dlq.topic": "images",
        "dlq.partition": "3",
        "dlq.offset": "1234",
        "dlq.index": "2",
        "dlq.timestamp": "2026-01-01T00:00:00.123Z",
        "dlq.unclassified-action": "block",
        "dlq.version": "1.2.3",
        "content-type": "application/json",
        "ce_dataschema": "urn:clipstream:schema:dead-letter:v1",
        "dlq.payload": "reference",
    }


def test_a_dead_reference_is_one_native_reference() -> None:
    record = build(OF_REFERENCE)
    value = json.loads(record.value)
    assert record.key == b"a key"
    assert value == {
        "bucket": "photos",
        "key": "2026/café +1.jpg",
        "label_sets": ["shapes", "colours"],
        "version_id": "asked",
        "etag": "abc123",
        "id": "upload-1",
        "tenant": "gallery",
        "metadata": {"album": ["winter", {"deep": None}]},
    }
    Draft202012Validator(schemas()[DEAD_LETTER_SCHEMA]).validate(value)


def test_what_a_dead_reference_does_not_have_is_left_out() -> None:
    ref = ImageRef("photos", "cat.jpg", ("shapes",))
    value = json.loads(build(replace(OF_REFERENCE, ref=ref)).value)
    assert value == {"bucket": "photos", "key": "cat.jpg", "label_sets": ["shapes"]}


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (Asked(), {"label_sets": []}),
        (Asked(("colours",), "gallery"), {"label_sets": ["colours"], "tenant": "gallery"}),
    ],
)
def test_a_dead_reference_says_what_was_asked_for_beside_what_was_decided(
    asked: Asked, written: dict[str, Any]
) -> None:
    value = json.loads(build(replace(OF_REFERENCE, ref=replace(REF, asked=asked))).value)
    assert value.pop("asked") == written
    assert value == json.loads(build(OF_REFERENCE).value)
    Draft202012Validator(schemas()[DEAD_LETTER_SCHEMA]).validate(value | {"asked": written})


@pytest.mark.parametrize("with_headers", [False, True])
def test_a_dead_reference_is_replayed_as_it_stands(with_headers: bool) -> None:
    """Also where a mirror copies the dead letter's own headers along."""
    record = build(OF_REFERENCE)
    route = RoutePolicy(label_sets=("shapes", "colours"), allowed_tenants=("gallery",))
    position = Position(Partition("images", 0), 9)
    replayed = Record(position, 5, record.key, record.value, record.headers if with_headers else ())
    router = Router([route], ["shapes", "colours"])
    (again,) = parse(replayed, ReferencesPolicy(), router)
    trace = TRACE if with_headers else None
    asked = Asked(REF.label_sets, REF.tenant)
    assert again.content == replace(REF, asked=asked)
    assert again.origin == Origin(position, 0, 5, b"a key", trace)


@pytest.mark.parametrize("asked", [["nonsense", "shapes"], []])
def test_a_refused_reference_is_replayed_with_what_its_sender_asked_for(asked: list[str]) -> None:
    """Also out of a list, and out of another format: it is one native reference."""
    refused = {"bucket": "elsewhere", "key": "a.jpg", "id": "1", "label_sets": asked}
    value = json.dumps([{"bucket": "photos", "key": "cat.jpg"}, refused]).encode()
    routes = [RoutePolicy(bucket="photos", label_sets=("shapes",))]
    policy, before = ReferencesPolicy(), Router(routes, ["shapes"])
    _, entry = parse(replace(RECORD, value=value), policy, before)
    assert isinstance(entry.content, DeadLetter)
    record = build(entry.content, entry.record, entry.origin)
    headers = ours(record)
    assert headers["dlq.payload"] == "reference"
    assert headers["dlq.code"] == "reference.no_route"
    assert headers["dlq.unclassified-action"] == "review"
    assert headers["ce_subject"] == "1"
    assert json.loads(record.value) == refused | {"asked": {"label_sets": asked}}
    Draft202012Validator(schemas()[DEAD_LETTER_SCHEMA]).validate(refused)
    mended = Router([], ["shapes", "colours", "nonsense"])
    (again,) = parse(replace(RECORD, value=record.value, headers=()), policy, mended)
    assert isinstance(again.content, ImageRef)
    assert again.content.label_sets == tuple(asked or ["shapes", "colours", "nonsense"])


def test_an_unparsable_record_keeps_key_value_and_headers() -> None:
    record = build(OF_RECORD, RECORD)
    headers = ours(record)
    assert (record.key, record.value) == (RECORD.key, RECORD.value)
    assert [pair for pair in record.headers if pair[0].startswith("original.")] == [
        ("original.ce_id", b"theirs"),
        ("original.x", b"\xfe"),
        ("original.x", b""),
        ("original.content-type", b""),
        ("original.é", b""),
    ]
    assert json.loads(headers["dlq.null-headers"]) == [2, 4]
    assert headers["dlq.payload"] == "record"
    assert headers["content-type"] == "application/octet-stream"
    assert "dlq.null-value" not in headers
    assert "ce_subject" not in headers
    assert "ce_dataschema" not in headers


def test_a_null_value_is_told_from_an_empty_one() -> None:
    null = build(OF_RECORD, replace(RECORD, value=None))
    empty = build(OF_RECORD, replace(RECORD, value=b""))
    assert null.value == empty.value == b""
    assert ours(null)["dlq.null-value"] == "true"
    assert "dlq.null-value" not in ours(empty)


def test_a_record_without_nulls_lists_none() -> None:
    record = replace(RECORD, headers=(("a", b""), ("b", b"1")))
    assert "dlq.null-headers" not in ours(build(OF_RECORD, record))


def test_a_dead_letter_of_a_dead_letter_keeps_both_sets_of_headers() -> None:
    first = build(OF_RECORD, RECORD)
    second = build(OF_RECORD, replace(RECORD, headers=first.headers))
    assert ours(second)["dlq.code"] == "reference.not_json"
    kept = [
        (name.removeprefix("original."), value)
        for name, value in second.headers
        if name.startswith("original.")
    ]
    assert kept == list(first.headers)


def test_a_record_that_the_broker_could_not_return_leaves_its_position() -> None:
    record = build(UNREADABLE, origin=UNREADABLE_ORIGIN)
    headers = ours(record)
    assert (record.key, record.value) == (None, b"")
    assert headers["dlq.payload"] == "omitted"
    assert (headers["dlq.topic"], headers["dlq.partition"], headers["dlq.offset"]) == (
        "images",
        "0",
        "5",
    )
    assert headers.keys().isdisjoint(
        {"ce_time", "dlq.timestamp", "content-type", "dlq.value-bytes", "dlq.value-sha256"}
    )


def test_a_message_is_one_printable_line() -> None:
    letter = replace(OF_REFERENCE, message="a\r\nb\x1b[31mc\udfff\u2028\u202e")
    message = ours(build(letter))["dlq.message"]
    assert message == "a\\u000d\\u000ab\\u001b[31mc\\udfff\\u2028\\u202e"


@pytest.mark.parametrize("character", ["a", "é", "図", "🐈", "\n"])
@pytest.mark.parametrize("extra", range(-3, 5))
def test_a_long_message_is_cut_between_two_characters(character: str, extra: int) -> None:
    written = "\\u000a" if character == "\n" else character
    count = MAX_MESSAGE_BYTES // len(written.encode()) + extra
    message = ours(build(replace(OF_REFERENCE, message=character * count)))["dlq.message"]
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    whole = written * count
    if len(whole.encode()) <= MAX_MESSAGE_BYTES:
        assert message == whole
    else:
        assert message.endswith("…")
        assert whole.startswith(message.removesuffix("…"))
        assert len(message.encode()) > MAX_MESSAGE_BYTES - 8


@pytest.mark.parametrize(("letter", "record"), [(OF_REFERENCE, None), (OF_RECORD, RECORD)])
def test_a_shrunk_dead_letter_has_sizes_and_hash_instead_of_the_payload(
    letter: DeadLetter, record: Record | None
) -> None:
    full, (shrunk,) = build(letter, record), BUILDER.shrink(ORIGIN, letter, record)
    headers = ours(shrunk)
    assert shrunk.topic is OutputTopic.DEAD_LETTERS
    assert (shrunk.key, shrunk.value) == (full.key, b"")
    assert headers["dlq.payload"] == "omitted"
    assert headers["dlq.full-bytes"] == str(full.size_bytes)
    assert headers["dlq.value-bytes"] == str(len(full.value))
    assert headers["dlq.value-sha256"] == hashlib.sha256(full.value).hexdigest()
    assert "content-type" not in headers
    same = {"ce_id", "ce_subject", "dlq.code", "dlq.message", "dlq.offset", "dlq.index"}
    assert {name: headers.get(name) for name in same} == {
        name: ours(full).get(name) for name in same
    }
    assert not any(name.startswith("original.") for name, _ in shrunk.headers)


@pytest.mark.parametrize(
    ("origin", "letter", "record"),
    [
        (ORIGIN, OF_RECORD, replace(RECORD, value=b"x" * 300_000)),
        (ORIGIN, OF_RECORD, replace(RECORD, key=b"x" * 300_000)),
        (ORIGIN, OF_RECORD, replace(RECORD, headers=(("h", b"v"),) * 20_000)),
        (ORIGIN, replace(OF_RECORD, message="x" * 300_000), RECORD),
        (ORIGIN, replace(OF_REFERENCE, ref=replace(REF, id="x" * 300_000)), None),
        (ORIGIN, replace(OF_REFERENCE, ref=replace(REF, metadata={"x": "x" * 300_000})), None),
        (replace(ORIGIN, traceparent="x" * 300_000), OF_RECORD, RECORD),
    ],
)
def test_a_shrunk_dead_letter_is_small_whatever_the_input(
    origin: Origin, letter: DeadLetter, record: Record | None
) -> None:
    (shrunk,) = BUILDER.shrink(origin, letter, record)
    assert shrunk.size_bytes < 3 * MAX_SHRUNK_FIELD_BYTES
    ours(shrunk)


def test_shrinking_what_has_no_payload_changes_nothing() -> None:
    (shrunk,) = BUILDER.shrink(UNREADABLE_ORIGIN, UNREADABLE)
    assert shrunk == build(UNREADABLE, origin=UNREADABLE_ORIGIN)


def test_what_clipstream_adds_to_a_record_fits_the_room_of_the_topic() -> None:
    """The dead-letter topic takes the input's maximum + 64 KiB."""
    key, headers = b"k" * 10_000, tuple((f"header-{place}", b"v") for place in range(1000))
    record = replace(RECORD, key=key, value=b"x" * 900_000, headers=headers)
    letter = replace(OF_RECORD, message="m" * 5000)
    own = len(key) + 900_000 + sum(len(name) + 1 for name, _ in headers)
    assert build(letter, record).size_bytes - own < 16 * 1024
