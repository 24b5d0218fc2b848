"""Amazon S3's events by way of EventBridge.

The sources of the examples stand in tests/data/formats/README.md.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.records import ImageRef, Partition, Position, Record, Skipped
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import Router
from tests.rigs.root import ROOT

EXAMPLES = ROOT / "tests" / "data" / "formats"


def example(name: str = "eventbridge-object-created.json") -> Any:
    return json.loads((EXAMPLES / name).read_text())


def read(document: Any) -> Any:
    record = Record(Position(Partition("events", 0), 7), 0, None, json.dumps(document).encode())
    [entry] = parse(record, ReferencesPolicy(), Router([], ["moderation"]))
    return entry.content


def with_object(**fields: Any) -> Any:
    document = example()
    document["detail"]["object"] |= fields
    return document


def test_the_example() -> None:
    ref = read(example())
    assert (ref.bucket, ref.key) == ("amzn-s3-demo-bucket1", "example-key")
    assert ref.version_id == "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"
    assert ref.etag == "b1946ac92492d2347c6235b4d2611184"


@pytest.mark.parametrize("key", ["%2B++ %20.mp3", "%2B%20%%%.png", "a+b c/d%2Fe.jpg"])
def test_a_key_is_taken_as_sent(key: str) -> None:
    assert read(with_object(key=key)).key == key


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("eventbridge-object-deleted.json", SkipReason.DELETED),
        ("eventbridge-object-restore-completed.json", SkipReason.OTHER_EVENT),
    ],
)
def test_other_events_are_counted_skips(name: str, reason: SkipReason) -> None:
    assert read(example(name)) == Skipped(reason)


@pytest.mark.parametrize(
    "detail_type",
    [
        *("Object Restore Initiated", "Object Restore Expired", "Object Tags Added"),
        *("Object Tags Deleted", "Object ACL Updated", "Object Storage Class Changed"),
        "Object Access Tier Changed",
    ],
)
def test_the_other_published_events_are_counted_skips(detail_type: str) -> None:
    assert read(example() | {"detail-type": detail_type}) == Skipped(SkipReason.OTHER_EVENT)


@pytest.mark.parametrize("detail_type", ["Async Copy Completion", "object created", "Object", ""])
def test_an_event_that_nobody_has_listed_is_never_skipped(detail_type: str) -> None:
    letter = read(example() | {"detail-type": detail_type})
    assert letter.code == "reference.unknown_format"
    assert letter.message.startswith(
        f"detail-type: {detail_type!r} is not the name of a known event"
    )


def test_an_event_from_before_event_version_is_read() -> None:
    document = example()
    del document["detail"]["event-version"]
    assert isinstance(read(document), ImageRef)


def test_an_object_without_a_version_is_pinned_by_its_etag() -> None:
    document = with_object()
    del document["detail"]["object"]["version-id"]
    assert (read(document).version_id, read(document).etag) == (
        None,
        "b1946ac92492d2347c6235b4d2611184",
    )


def test_a_folder_of_no_bytes_is_skipped_and_one_with_bytes_is_not() -> None:
    assert read(with_object(key="holiday/", size=0)) == Skipped(SkipReason.FOLDER)
    assert read(with_object(key="holiday/", size=5)).key == "holiday/"


@pytest.mark.parametrize(
    ("change", "detail", "code", "place"),
    [
        ({"source": "aws.ec2"}, {}, "reference.unknown_format", "source"),
        ({}, {"event-version": "2.0"}, "reference.unknown_format", "detail.event-version"),
        ({"detail": "x"}, None, "reference.invalid", "detail"),
        ({"detail-type": 1}, {}, "reference.invalid", "detail-type"),
        ({}, {"bucket": {"name": "DOC-EXAMPLE-BUCKET1"}}, "reference.invalid", "detail.bucket"),
        ({}, {"object": {"key": 1}}, "reference.invalid", "detail.object.key"),
        ({}, {"object": None}, "reference.invalid", "detail.object"),
    ],
)
def test_a_wrong_field_is_refused_by_its_place(
    change: dict[str, Any], detail: dict[str, Any] | None, code: str, place: str
) -> None:
    document = example()
    if detail is not None:
        document["detail"] |= detail
    letter = read(document | change)
    assert letter.code == code
    assert letter.message.startswith(place)
