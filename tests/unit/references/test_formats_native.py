"""Clipstream's own format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.records import DeadLetter, Entry, ImageRef, Partition, Position, Record
from pipeline.references import ReferencesPolicy, parse
from pipeline.routes import Router

ROUTER = Router([], ["moderation", "objects"])


def entries_of(document: Any) -> tuple[Entry, ...]:
    record = Record(
        Position(Partition("refs", 0), 7), 1_700_000_000_000, b"k", json.dumps(document).encode()
    )
    return parse(record, ReferencesPolicy(), ROUTER)


def read(document: Any) -> list[Any]:
    return [entry.content for entry in entries_of(document)]


def read_one(**fields: Any) -> ImageRef:
    [outcome] = read({"bucket": "photos", "key": "cat.jpg"} | fields)
    assert isinstance(outcome, ImageRef), outcome
    return outcome


def refuse_one(**fields: Any) -> DeadLetter:
    [outcome] = read({"bucket": "photos", "key": "cat.jpg"} | fields)
    assert isinstance(outcome, DeadLetter), outcome
    return outcome


def test_a_reference_needs_bucket_and_key_alone() -> None:
    ref = read_one()
    assert (ref.bucket, ref.key) == ("photos", "cat.jpg")
    assert ref.label_sets == ("moderation", "objects")
    assert (ref.version_id, ref.etag, ref.id, ref.tenant) == (None, None, None, None)
    assert dict(ref.metadata) == {}


def test_every_field_is_carried() -> None:
    ref = read_one(
        version_id="3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY",
        etag="d41d8cd98f00b204e9800998ecf8427e",
        id="order 17 / front",
        label_sets=["objects"],
        tenant="acme",
        metadata={"camera": {"make": "Ω", "iso": 100}, "tags": [1.5, None, True]},
    )
    assert ref.version_id == "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"
    assert ref.etag == "d41d8cd98f00b204e9800998ecf8427e"
    assert (ref.id, ref.tenant, ref.label_sets) == ("order 17 / front", "acme", ("objects",))
    assert ref.metadata == {"camera": {"make": "Ω", "iso": 100}, "tags": [1.5, None, True]}


def test_null_means_absent_and_unknown_fields_are_ignored() -> None:
    ref = read_one(version_id=None, etag=None, label_set=None, metadata=None, colour=["blue"])
    assert (ref.version_id, ref.etag, dict(ref.metadata)) == (None, None, {})


IBM_DELETION = {
    "bucket": "photos",
    "endpoint": "",
    "key": "cat.jpg",
    "notification": {
        "bucket_name": "photos",
        "event_type": "Object:Delete",
        "format": "2.0",
        "object_name": "cat.jpg",
    },
    "operation": "Object:Delete",
}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (IBM_DELETION, "notification: "),
        ([IBM_DELETION], "[0].notification: "),
        ({"bucket": "photos", "key": "cat.jpg", "eventName": "Deleted"}, "eventName: "),
        ({"bucket": "photos", "key": "cat.jpg", "Event-Type": "Deleted"}, "Event-Type: "),
        ({"uri": "s3://photos/cat.jpg", "action": "delete"}, "action: "),
    ],
)
def test_an_event_of_another_vocabulary_is_no_reference(document: Any, place: str) -> None:
    [letter] = read(document)
    assert letter.code == "reference.unknown_format"
    assert letter.message.startswith(place)


def test_a_null_tells_no_event_and_metadata_may_tell_one() -> None:
    assert read_one(action=None, metadata={"event": "upload"}).metadata == {"event": "upload"}


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "storage#object", "bucket": "photos", "name": "cat.jpg"},
        {"key": "cat.jpg", "value": 7},
        {"bucket": "photos"},
    ],
)
def test_an_object_that_happens_to_have_a_bucket_or_a_key_is_no_reference(document: Any) -> None:
    [letter] = read(document)
    assert letter.code == "reference.unknown_format"


def test_an_etag_is_taken_with_or_without_its_quotes() -> None:
    assert read_one(etag='"0f343b"').etag == read_one(etag="0f343b").etag == "0f343b"


@pytest.mark.parametrize(
    "key",
    ["a b", "a+b", "a%20b", "a?versionId=1#x", "/leading", "a//b", "../../etc", "ключ\n.jpg", "x/"],
)
def test_a_key_is_opaque_in_both_ways_of_writing_it(key: str) -> None:
    assert read_one(key=key).key == key
    [ref] = read({"uri": f"s3://photos/{key}"})
    assert (ref.bucket, ref.key) == ("photos", key)


@pytest.mark.parametrize(
    "uri",
    [
        "photos/cat.jpg",
        "http://photos.example.com/cat.jpg",
        "https://photos/cat.jpg",
        "https://me:secret@photos.example.com/cat.jpg",
        "S3://photos/cat.jpg",
        "s3://photos",
        "s3://photos/",
        "s3:///cat.jpg",
        "s3://user@photos/cat.jpg",
        "s3://photos:9000/cat.jpg",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/one/cat.jpg",
    ],
)
def test_a_uri_other_than_of_bucket_and_key_is_refused(uri: str) -> None:
    [letter] = read({"uri": uri})
    assert letter.code == "reference.invalid"
    assert letter.message.startswith("uri: ")


def test_a_uri_beside_a_bucket_is_refused() -> None:
    assert "one or the other" in refuse_one(uri="s3://photos/cat.jpg").message


@pytest.mark.parametrize("bucket", ["a-1", "my.bucket", "0" * 63, "amzn-s3-demo-bucket", "1.2.3.x"])
def test_bucket_names_by_the_rules_pass(bucket: str) -> None:
    assert read_one(bucket=bucket).bucket == bucket


@pytest.mark.parametrize(
    "bucket",
    [
        "",
        "ab",
        "a" * 64,
        "Photos",
        "my_bucket",
        "-photos",
        "photos-",
        ".photos",
        "a..b",
        "192.168.5.4",
        "a/b",
        "photos?x",
        "фото",
        "photos\n",
        "arn:aws:s3:::photos",
        "my-point-aqfqprnstn7aefdfbarligizwgyfouse1a-s3alias",
        "my-lambda-point--ol-s3",
        "mfzwi23gnjvgw.mrap",
        "https://photos",
    ],
)
def test_what_is_no_bucket_name_is_refused(bucket: str) -> None:
    letter = refuse_one(bucket=bucket)
    assert letter.code == "reference.invalid"
    assert letter.message.startswith("bucket: ")


@pytest.mark.parametrize("key", ["k" * 1024, "é" * 512])
def test_a_key_has_at_most_1024_bytes(key: str) -> None:
    assert read_one(key=key).key == key
    letter = refuse_one(key=key + "k")
    assert letter.code == "reference.invalid"
    assert letter.message.startswith("key: is 1,025 UTF-8 bytes long (1 to 1,024)")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"bucket": None}, "bucket"),
        ({"bucket": 5}, "bucket"),
        ({"key": None}, "key"),
        ({"key": ["cat.jpg"]}, "key"),
        ({"key": ""}, "key"),
        ({"version_id": 3}, "version_id"),
        ({"version_id": ""}, "version_id"),
        ({"version_id": "a b"}, "version_id"),
        ({"version_id": "v" * 1025}, "version_id"),
        ({"etag": True}, "etag"),
        ({"etag": 'W/"abc"'}, "etag"),
        ({"etag": "abc\r\nRange: bytes=0-1"}, "etag"),
        ({"etag": '""'}, "etag"),
        ({"id": ""}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "i" * 1025}, "id"),
        ({"tenant": {}}, "tenant"),
        ({"tenant": "t" * 129}, "tenant"),
        ({"label_set": ["moderation"]}, "label_set"),
        ({"label_sets": "moderation"}, "label_sets"),
        ({"label_sets": ["moderation", 1]}, "label_sets[1]"),
        ({"label_set": "moderation", "label_sets": ["moderation"]}, "label_sets"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": [1]}, "metadata"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    letter = refuse_one(**fields)
    assert letter.code == "reference.invalid"
    assert letter.message.startswith(f"{field}: ")


def test_metadata_of_4_kib_passes_and_one_byte_more_does_not() -> None:
    fitting = {"é": "x" * (4096 - len('{"é":""}'.encode()))}
    assert read_one(metadata=fitting).metadata == fitting
    letter = refuse_one(metadata={"é": fitting["é"] + "x"})
    assert letter.code == "reference.metadata_too_large"
    assert "is 4,097 bytes as JSON (limit 4,096)" in letter.message


def test_a_complaint_never_quotes_a_key_or_metadata() -> None:
    letters = [
        refuse_one(key="anna-kowalska/" + "k" * 1024),
        refuse_one(id="anna-kowalska\n"),
        refuse_one(etag="anna-kowalska passport"),
        refuse_one(metadata={"name": "anna-kowalska" * 1000}),
    ]
    assert not any("anna" in letter.message for letter in letters)


def test_label_set_is_a_list_of_one_and_repeated_names_count_once() -> None:
    assert read_one(label_set="objects").label_sets == ("objects",)
    assert read_one(label_sets=["objects", "objects"]).label_sets == ("objects",)


def test_a_list_holds_one_reference_an_entry() -> None:
    document = [{"bucket": "photos", "key": str(n)} for n in range(3)]
    assert [ref.key for ref in read(document)] == ["0", "1", "2"]
    assert [entry.origin.index for entry in entries_of(document)] == [0, 1, 2]


def test_a_bad_entry_of_a_list_is_named_by_its_place() -> None:
    _, not_an_object, no_key = read([{"bucket": "photos", "key": "1"}, "x", {"bucket": "photos"}])
    assert not_an_object.message == "[1]: is a string; send an object"
    assert no_key.message == "[2].key: is missing; send it"
