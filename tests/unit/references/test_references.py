"""A record becomes one outcome an entry, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import CODES
from pipeline.records import (
    Asked,
    DeadLetter,
    Entry,
    Headers,
    ImageRef,
    Partition,
    Position,
    Record,
    Skipped,
)
from pipeline.references import MAX_REPEATED_BYTES, ReferencesPolicy, SkipReason, parse
from pipeline.routes import RoutePolicy, Router

GOOD = {"bucket": "photos", "key": "cat.jpg"}
POSITION = Position(Partition("refs", 3), 41)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(value: Any, headers: Headers = (), key: bytes | None = b"k") -> Record:
    encoded = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Record(POSITION, 1_700_000_000_123, key, encoded, headers)


def entries_of(value: Any, headers: Headers = (), **limits: int) -> tuple[Entry, ...]:
    router = Router([], ["moderation", "objects"])
    return parse(record(value, headers), ReferencesPolicy(**limits), router)


def read(value: Any, headers: Headers = (), **limits: int) -> list[Any]:
    return [entry.content for entry in entries_of(value, headers, **limits)]


def test_a_tombstone_is_a_counted_skip() -> None:
    assert read(None) == [Skipped(SkipReason.TOMBSTONE)]


def test_an_empty_list_is_a_counted_skip() -> None:
    assert read([]) == [Skipped(SkipReason.EMPTY)]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "reference.not_json"),
        (b"\x00\x00\x00\x00\x01\x02", "reference.not_json"),
        (b"null", "reference.unknown_format"),
        (b'"s3://photos/cat.jpg"', "reference.unknown_format"),
        (b"17", "reference.unknown_format"),
        (b"{}", "reference.unknown_format"),
        (b'{"hello":"world"}', "reference.unknown_format"),
        (b"[" * 100_000, "reference.too_large"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_dead_letter_with_its_bytes(
    value: bytes, code: str
) -> None:
    headers: Headers = (("a", b"1"), ("b", None), ("a", b"2"))
    source = record(value, headers)
    [entry] = parse(source, ReferencesPolicy(), Router([], ["moderation"]))
    letter = entry.content
    assert isinstance(letter, DeadLetter)
    assert letter.code == code
    assert entry.record is source
    assert letter.ref is None
    assert (entry.origin.position, entry.origin.index) == (POSITION, 0)
    assert letter.attempts == 1


def test_the_size_limit_is_inclusive_and_names_its_setting() -> None:
    value = json.dumps(GOOD).encode()
    assert isinstance(read(value, max_record_bytes=len(value))[0], ImageRef)
    [letter] = read(value, max_record_bytes=len(value) - 1)
    assert letter.code == "reference.too_large"
    assert "references.max_record_bytes" in letter.message


def test_a_record_of_more_entries_than_allowed_is_rejected_whole() -> None:
    assert len(read([GOOD] * 3, max_references_per_record=3)) == 3
    [entry] = entries_of([GOOD] * 4, max_references_per_record=3)
    letter = entry.content
    assert isinstance(letter, DeadLetter)
    assert letter.code == "reference.too_many"
    assert letter.message.startswith("the record holds 4 entries (limit")
    assert value_of(entry) == [GOOD] * 4


def value_of(entry: Entry) -> Any:
    """What the dead letter of an entry holds."""
    assert entry.record is not None
    return json.loads(entry.record.value or b"")


def test_a_thousand_references_are_allowed_by_default() -> None:
    assert len(read([GOOD] * 1000)) == 1000
    assert len(read([GOOD] * 1001)) == 1


def test_an_origin_keeps_what_outcomes_need_of_the_record() -> None:
    first, second = entries_of([GOOD, GOOD], (("traceparent", TRACE.encode()),))
    assert first.origin.position == second.origin.position == POSITION
    assert (first.origin.index, second.origin.index) == (0, 1)
    assert first.origin.timestamp_ms == 1_700_000_000_123
    assert first.origin.key == b"k"
    assert first.origin.traceparent == second.origin.traceparent == TRACE


def test_a_bad_entry_of_a_list_does_not_harm_its_neighbours() -> None:
    bad = {"bucket": "photos", "metadata": {"n": 1.5, "é": None}}
    before, refused, after = entries_of([GOOD, bad, GOOD])
    assert isinstance(before.content, ImageRef)
    assert isinstance(after.content, ImageRef)
    assert isinstance(refused.content, DeadLetter)
    assert (refused.content.code, refused.origin.index) == ("reference.invalid", 1)


def test_a_bad_entrys_dead_letter_holds_that_entry_alone() -> None:
    bad = {"bucket": "photos", "metadata": {"n": 1.5, "é": None}}
    source = record([GOOD, bad, GOOD], (("source", b"cms"),))
    refused = parse(source, ReferencesPolicy(), Router([], ["moderation"]))[1]
    assert value_of(refused) == [bad]
    assert refused.record is not None
    assert (refused.record.key, refused.record.headers) == (source.key, source.headers)
    # Replayed as it stands it has the same fate, and its neighbours have none again.
    [again] = parse(refused.record, ReferencesPolicy(), Router([], ["moderation"]))
    assert isinstance(again.content, DeadLetter)
    assert isinstance(refused.content, DeadLetter)
    assert again.content.code == refused.content.code


def test_a_bad_event_of_several_is_replayable_in_its_own_format() -> None:
    good = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": "a+b"}},
    }
    bad = good | {"eventVersion": "3.0"}
    _, refused = entries_of({"Records": [good, bad]})
    assert value_of(refused) == {"Records": [bad]}
    assert isinstance(refused.content, DeadLetter)
    [again] = read(value_of(refused))
    assert again.code == refused.content.code == "reference.unknown_format"


def test_the_only_entry_of_a_record_keeps_the_record_byte_for_byte() -> None:
    source = record(b'[ {"bucket" : "photos"} ]')
    [refused] = parse(source, ReferencesPolicy(), Router([], ["moderation"]))
    assert isinstance(refused.content, DeadLetter)
    assert refused.record is source


def test_a_large_key_is_not_multiplied_by_a_records_references() -> None:
    router, policy = Router([], ["moderation"]), ReferencesPolicy()
    key = b"k" * (MAX_REPEATED_BYTES - len("name" + "value"))
    headers: Headers = (("name", b"value"),)
    assert len(parse(record([GOOD, GOOD], headers, key), policy, router)) == 2
    [refused] = parse(record([GOOD, GOOD], headers, key + b"k"), policy, router)
    assert isinstance(refused.content, DeadLetter)
    assert refused.content.code == "reference.too_large"
    [alone] = parse(record(GOOD, headers, key + b"k"), policy, router)
    assert isinstance(alone.content, ImageRef)


@pytest.mark.parametrize(
    "headers",
    [
        (("traceparent", TRACE.encode()),),
        (("Traceparent", TRACE.encode()),),
        (("ce_traceparent", TRACE.encode()),),
        (("traceparent", b"junk"), ("traceparent", TRACE.encode())),
        (("ce_traceparent", b"junk"), ("traceparent", TRACE.encode())),
    ],
)
def test_a_trace_passes_through(headers: Headers) -> None:
    [entry] = entries_of(GOOD, headers)
    assert entry.origin.traceparent == TRACE


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"junk",
        TRACE.encode() + b"\r\nx: y",
        TRACE.encode() + b"-extra",
        TRACE.upper().encode(),
        b"ff" + TRACE[2:].encode(),
        b"00-" + b"0" * 32 + TRACE[35:].encode(),
        TRACE[:36].encode() + b"0" * 16 + b"-01",
        b"\xff" * 55,
    ],
)
def test_a_malformed_trace_is_dropped(value: bytes | None) -> None:
    [entry] = entries_of(GOOD, (("traceparent", value),))
    assert entry.origin.traceparent is None


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ((("traceparent", TRACE.encode()), ("tracestate", b"a=1,b=2")), "a=1,b=2"),
        ((("ce_traceparent", TRACE.encode()), ("ce_tracestate", b"a=1")), "a=1"),
        ((("traceparent", TRACE.encode()), ("ce_tracestate", b"a=1")), None),
        ((("traceparent", TRACE.encode()), ("tracestate", b"a=1\n")), None),
        ((("traceparent", TRACE.encode()), ("tracestate", b"a=" + b"1" * 511)), None),
        ((("traceparent", b"junk"), ("tracestate", b"a=1")), None),
        ((("tracestate", b"a=1"),), None),
    ],
)
def test_the_state_of_a_trace_stays_with_its_trace(headers: Headers, state: str | None) -> None:
    [entry] = entries_of(GOOD, headers)
    assert entry.origin.tracestate == state


def test_headers_that_are_not_read_do_not_matter() -> None:
    hostile: Headers = tuple((f"x-{n}", b"\xff\x00" * 10) for n in range(10_000))
    [ref] = read(GOOD, hostile)
    assert isinstance(ref, ImageRef)


def test_a_skipping_route_is_counted_and_keeps_the_entrys_index() -> None:
    router = Router(
        [RoutePolicy(key="*.txt", skip=True), RoutePolicy(label_sets=("moderation",))],
        ["moderation"],
    )
    text = {"bucket": "photos", "key": "notes.txt"}
    skipped, kept = parse(record([text, GOOD]), ReferencesPolicy(), router)
    assert skipped.content == Skipped(SkipReason.ROUTE)
    assert isinstance(kept.content, ImageRef)
    assert (skipped.origin.index, kept.origin.index) == (0, 1)


def test_a_refusal_by_a_route_is_a_dead_letter_of_that_entry() -> None:
    refused, kept = entries_of([GOOD | {"label_set": "nonsense"}, GOOD])
    assert isinstance(refused.content, DeadLetter)
    assert refused.content.code == "reference.unknown_label_set"
    assert refused.origin.index == 0
    assert isinstance(kept.content, ImageRef)


ASKING = GOOD | {
    "etag": "abc",
    "version_id": "v1",
    "id": "upload-1",
    "tenant": "acme",
    "metadata": {"album": "winter"},
}


@pytest.mark.parametrize(
    ("code", "route", "asked"),
    [
        ("reference.unknown_label_set", {}, {"label_set": "nonsense", "tenant": None}),
        ("reference.not_allowed", {}, {"label_sets": ["objects", "moderation"], "tenant": None}),
        ("reference.not_allowed", {}, {"tenant": "acme"}),
        ("reference.no_route", {"bucket": "other"}, {"label_sets": ["objects"]}),
        ("reference.no_route", {"bucket": "other"}, {}),
    ],
)
def test_a_refused_reference_keeps_what_it_says_and_what_it_asked_for(
    code: str, route: dict[str, Any], asked: dict[str, Any]
) -> None:
    router = Router([RoutePolicy(label_sets=("moderation",), **route)], ["moderation", "objects"])
    wanted = ASKING | asked
    [entry] = parse(record(wanted), ReferencesPolicy(), router)
    letter = entry.content
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.unclassified_action, entry.record) == (code, "review", None)
    label_sets = (wanted["label_set"],) if "label_set" in wanted else wanted.get("label_sets", ())
    assert letter.ref == ImageRef(
        "photos",
        "cat.jpg",
        tuple(label_sets),
        version_id="v1",
        etag="abc",
        id="upload-1",
        tenant=wanted["tenant"],
        metadata={"album": "winter"},
        asked=Asked(tuple(label_sets), wanted["tenant"]),
    )


def test_every_code_of_the_stage_is_in_the_catalogue_with_a_remedy() -> None:
    codes = {name for name in CODES if name.startswith("reference.")}
    assert codes == {
        "reference.not_json",
        "reference.unknown_format",
        "reference.invalid",
        "reference.too_large",
        "reference.too_many",
        "reference.metadata_too_large",
        "reference.not_allowed",
        "reference.unknown_label_set",
        "reference.no_route",
    }
