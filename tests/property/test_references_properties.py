"""Whatever stands on a topic, a record has outcomes, each entry exactly one."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import CODES, Reject
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.formats import strict_json
from pipeline.records import (
    DeadLetter,
    Entry,
    Headers,
    ImageRef,
    Partition,
    Position,
    Record,
    Skipped,
)
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import RoutePolicy, Router

ROUTES = (
    RoutePolicy(bucket="skipped*", skip=True),
    RoutePolicy(bucket="a*", label_sets=("moderation",), allowed_label_sets=("objects",)),
    RoutePolicy(headers={"source": "cms"}, label_sets=("objects",)),
)
ROUTER = Router(ROUTES, ["moderation", "objects"])
REMOVING = Router(ROUTES, ["moderation", "objects"], removals=True)
REFUSALS = {"reference.no_route", "reference.not_allowed", "reference.unknown_label_set"}
BUILDER = EventBuilder(EventContext("cluster", "group", {"t": "uuid"}, "1"), EventsPolicy())
POLICY = ReferencesPolicy(max_references_per_record=20, max_depth=8)

# S3 keys: any text that UTF-8 can encode.
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
# Lone surrogates too: JSON can escape them.
texts = st.text(st.characters(), max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=12,
)
field_names = st.sampled_from(
    [
        *("bucket", "key", "uri", "version_id", "etag", "id", "tenant", "label_set", "label_sets"),
        *("metadata", "Records", "eventVersion", "eventSource", "eventName", "s3", "object"),
        *("name", "eTag", "versionId", "size", "detail-type", "detail", "source", "version"),
        *("requestParameters", "responseElements", "bucketName", "errorCode", "operation"),
        *("specversion", "type", "data", "data_base64", "Type", "TopicArn", "Message", "Event"),
    ]
)
field_values = st.sampled_from(
    [
        *("photos", "abc", "s3://abc/k", "2.1", "aws:s3", "minio:s3", "ceph:s3", "1.0", "0"),
        *("ObjectCreated:Put", "s3:ObjectRemoved:Delete", "s3:TestEvent", "Object Created"),
        *("s3.amazonaws.com", "PutObject", "1.08", "AWS API Call via CloudTrail"),
        *("aws.s3", "Notification", "SubscriptionConfirmation", "{}", "[]", "a%", "a+b/", ""),
        *(0, None, True, "moderation", ["objects"]),
    ]
)
# Documents that look like the formats, right and wrong in every way.
lookalikes: st.SearchStrategy[Any] = st.recursive(
    field_values,
    lambda inner: st.dictionaries(field_names, inner, max_size=6) | st.lists(inner, max_size=25),
    max_leaves=20,
)
header_names = st.sampled_from(
    ["content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "traceparent", "source"]
)
header_values = (
    st.none()
    | st.binary(max_size=60)
    | st.sampled_from(
        [b"1.0", b"application/json", b"application/cloudevents+json", b"text/plain", b"cms"]
    )
)
headers = st.lists(st.tuples(header_names | st.text(max_size=5), header_values), max_size=6).map(
    tuple
)


def record(value: bytes | None, headers: Headers = ()) -> Record:
    return Record(Position(Partition("t", 0), 1), 0, b"key", value, headers)


def replay_of(entry: Entry) -> Record:
    """The record that a person publishes to replay a dead letter, original headers included."""
    if entry.record is not None:
        return entry.record
    assert isinstance(entry.content, DeadLetter)
    (published,) = BUILDER.records(entry.origin, entry.content)
    return Record(Position(Partition("t", 0), 1), 0, published.key, published.value)


def assert_accounted(source: Record, policy: ReferencesPolicy = POLICY) -> tuple[Entry, ...]:
    entries = parse(source, policy, ROUTER)
    assert entries
    for index, entry in enumerate(entries):
        assert (entry.origin.position, entry.origin.index) == (source.position, index)
        match entry.content:
            case DeadLetter(code=code, message=message, ref=ref):
                assert code in CODES
                assert message.encode()
                # What could be read is a reference; what could not is the record, byte for byte.
                refused = code in REFUSALS
                assert (ref is not None, entry.record is None) == (refused, refused)
                assert refused or len(entries) > 1 or entry.record is source
            case Skipped(reason):
                assert reason in set(SkipReason)
                assert entry.record is None
            case ImageRef(key=key, label_sets=label_sets):
                assert label_sets
                assert 1 <= len(key.encode()) <= 1024
                assert entry.record is None
    return entries


@given(st.none() | st.binary(max_size=300), headers)
def test_no_bytes_are_too_bad_for_an_outcome(value: bytes | None, headers: Headers) -> None:
    assert_accounted(record(value, headers))


@given(lookalikes | json_values, headers)
@example({"Records": [{"s3": {}, "eventSource": "aws:s3"}] * 3}, ())
def test_no_document_is_too_bad_for_an_outcome(document: Any, headers: Headers) -> None:
    entries = assert_accounted(record(json.dumps(document).encode(), headers))
    if isinstance(document, list) and not any(name == "ce_specversion" for name, _ in headers):
        assert len(entries) in {1, len(document)}


@settings(max_examples=50)
@given(st.lists(lookalikes, min_size=1, max_size=6))
def test_every_entry_of_a_list_has_one_outcome_and_neighbours_do_not_change_it(
    documents: list[Any],
) -> None:
    policy = ReferencesPolicy(max_depth=128)
    together = assert_accounted(record(json.dumps(documents).encode()), policy)
    assert len(together) == len(documents)
    for document, entry in zip(documents, together, strict=True):
        [alone] = parse(record(json.dumps([document]).encode()), policy, ROUTER)
        letter = entry.content
        assert type(alone.content) is type(letter)
        if isinstance(letter, DeadLetter):
            assert isinstance(alone.content, DeadLetter)
            assert alone.content.code == letter.code
            # What the dead letter holds, replayed, has the same fate.
            [again] = parse(replay_of(entry), policy, ROUTER)
            assert isinstance(again.content, DeadLetter)
            assert (again.content.code, again.content.ref) == (letter.code, letter.ref)
        else:
            assert alone.content == letter


@given(
    bucket=st.sampled_from(["abc", "photos"]),
    label_sets=st.lists(st.sampled_from(["moderation", "objects", "é", ""]), max_size=3),
    tenant=st.none() | st.sampled_from(["acme", "ü"]),
    metadata=st.dictionaries(keys, st.integers(0, 9) | keys | st.lists(keys), max_size=3),
    key=keys,
)
def test_a_reference_that_the_routes_refuse_is_replayed_as_the_same_reference(
    bucket: str, label_sets: list[str], tenant: str | None, metadata: Any, key: str
) -> None:
    sent = {"bucket": bucket, "key": key, "label_sets": label_sets, "tenant": tenant}
    [entry] = assert_accounted(record(json.dumps(sent | {"metadata": metadata}).encode()))
    letter = entry.content
    if isinstance(letter, ImageRef):
        return
    [again] = parse(replay_of(entry), POLICY, ROUTER)
    assert isinstance(letter, DeadLetter)
    assert isinstance(again.content, DeadLetter)
    assert (again.content.code, again.content.ref) == (letter.code, letter.ref)


@given(lookalikes | json_values, headers)
@example(
    {
        "Records": [
            {"eventSource": "aws:s3", "eventVersion": "2.1", "eventName": name}
            | {"s3": {"bucket": {"name": "abc"}, "object": {"key": "a%"}}}
            for name in ("ObjectRemoved:Delete", "ObjectRemoved:NoOP", "ObjectTagging:Put")
        ]
    },
    (),
)
def test_publishing_removals_changes_what_becomes_of_deletions_alone(
    document: Any, headers: Headers
) -> None:
    source = record(json.dumps(document).encode(), headers)
    skipping = parse(source, POLICY, ROUTER)
    for off, on in zip(skipping, parse(source, POLICY, REMOVING), strict=True):
        assert on.origin == off.origin
        if off.content != Skipped(SkipReason.DELETED):
            assert on == off
        elif isinstance(on.content, DeadLetter):
            assert on.content.code in {"reference.invalid", "reference.unknown_format"}
            assert on.record is not None
        else:
            assert isinstance(on.content, Skipped)
            assert on.content.reason == SkipReason.DELETED


@given(keys)
@example("a%20b+c d%2Bé/")
def test_a_removal_names_the_object_that_the_upload_named(key: str) -> None:
    for source, sent in (("aws:s3", quote_plus(key, safe="/")), ("ceph:s3", key)):
        uploaded = parse(notification(source, sent), POLICY, REMOVING)[0].content
        removed = notification(source, sent, "ObjectRemoved:Delete")
        [entry] = parse(removed, POLICY, REMOVING)
        assert isinstance(uploaded, ImageRef)
        assert isinstance(entry.content, Skipped)
        assert entry.content.removal is not None
        assert entry.content.removal.uri == uploaded.uri
        (published,) = BUILDER.records(entry.origin, entry.content)
        assert json.loads(published.value)["key"] == key


def notification(source: str, key: str, event_name: str = "ObjectCreated:Put") -> Record:
    event = {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventName": event_name,
        "s3": {"bucket": {"name": "abc"}, "object": {"key": key, "size": 1}},
    }
    return record(json.dumps({"Records": [event]}).encode())


def key_of(source: Record) -> str:
    [entry] = parse(source, POLICY, ROUTER)
    assert isinstance(entry.content, ImageRef)
    return entry.content.key


@given(keys)
@example("a%20b+c d%2Bé/")
def test_a_form_encoded_key_comes_back_as_it_was(key: str) -> None:
    assert key_of(notification("aws:s3", quote_plus(key, safe="/"))) == key
    assert key_of(notification("minio:s3", quote_plus(key))) == key
    assert key_of(notification("aws:s3", quote(key))) == key  # some emulators write %20


@given(keys)
@example("a%20b+c d%2Bé/")
def test_a_key_as_sent_is_never_decoded(key: str) -> None:
    assert key_of(notification("ceph:s3", key)) == key
    assert key_of(record(json.dumps({"bucket": "abc", "key": key}).encode())) == key
    assert key_of(record(json.dumps({"uri": f"s3://abc/{key}"}).encode())) == key


@given(json_values)
def test_strict_json_reads_what_the_standard_library_reads_and_utf8_can_hold(document: Any) -> None:
    text = json.dumps(document).encode()
    expected = json.loads(text)
    try:
        json.dumps(expected, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # an infinity, or a lone surrogate
        with pytest.raises(Reject, match="not_json"):
            strict_json.load(text, max_depth=64)
        return
    read = strict_json.load(text, max_depth=64)
    assert read == expected
    assert strict_json.load(strict_json.dump(read), max_depth=64) == read
