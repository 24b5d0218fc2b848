"""References and S3 events as the data of CloudEvents 1.0, in both modes of its Kafka binding.

The sources of the examples stand in tests/data/formats/README.md.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pipeline.records import DeadLetter, Headers, ImageRef, Partition, Position, Record, Skipped
from pipeline.references import ReferencesPolicy, SkipReason, parse
from pipeline.routes import Router
from tests.rigs.root import ROOT

EXAMPLES = ROOT / "tests" / "data" / "formats"
REFERENCE = {"bucket": "photos", "key": "a b+%20.jpg"}

BINARY: dict[str, bytes] = {
    "ce_specversion": b"1.0",
    "ce_type": b"com.example.someevent",
    "ce_source": b"/mycontext/subcontext",
    "ce_id": b"1234-1234-1234",
    "ce_time": b"2018-04-05T03:56:24Z",
    "content-type": b"application/json",
}
STRUCTURED = {"content-type": b"application/cloudevents+json; charset=UTF-8"}


def example(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def event(data: Any = REFERENCE, **attributes: Any) -> Any:
    """The JSON format's example with other data."""
    return example("cloudevents-json.json") | {"data": data} | attributes


def read(value: Any, headers: dict[str, bytes] | Headers) -> Any:
    encoded = json.dumps(value).encode() if isinstance(value, dict | list) else value
    items = tuple(headers.items()) if isinstance(headers, dict) else headers
    record = Record(Position(Partition("events", 0), 7), 0, None, encoded, items)
    [entry] = parse(record, ReferencesPolicy(), Router([], ["moderation"]))
    return entry.content


def assert_is_the_reference(outcome: Any) -> None:
    assert isinstance(outcome, ImageRef), outcome
    assert (outcome.bucket, outcome.key) == ("photos", "a b+%20.jpg")
    assert outcome.id is None  # the event's id names the event, not the image


def test_a_reference_in_binary_mode() -> None:
    assert_is_the_reference(read(REFERENCE, BINARY))


def test_a_reference_in_structured_mode() -> None:
    assert_is_the_reference(read(event(), STRUCTURED))


def test_a_structured_event_is_known_without_its_content_type() -> None:
    assert_is_the_reference(read(event(), {}))


def test_a_structured_event_may_repeat_its_attributes_as_headers() -> None:
    assert_is_the_reference(read(event(), BINARY | STRUCTURED | {"ce_specversion": b"0.3"}))


@pytest.mark.parametrize(
    "content_type",
    [b"application/json; charset=utf-8", b"Application/JSON", b"application/vnd.acme+json", None],
)
def test_binary_data_of_any_json_type_is_read(content_type: bytes | None) -> None:
    headers = {name: value for name, value in BINARY.items() if name != "content-type"}
    if content_type is not None:
        headers["content-type"] = content_type
    assert_is_the_reference(read(REFERENCE, headers))


@pytest.mark.parametrize("unset", [{"datacontenttype": None}, {"subject": None, "time": None}])
def test_unset_attributes_may_be_null(unset: dict[str, None]) -> None:
    assert_is_the_reference(read(event(**unset), STRUCTURED))


def test_data_in_base64_is_decoded() -> None:
    encoded = base64.b64encode(json.dumps(REFERENCE).encode()).decode()
    document = event(data_base64=encoded)
    del document["data"]
    assert_is_the_reference(read(document, STRUCTURED))


@pytest.mark.parametrize("bare", [True, False])
def test_an_s3_event_as_data_has_its_key_decoded(bare: bool) -> None:
    notification = example("aws-s3-put.json")
    notification["Records"][0]["s3"]["object"]["key"] = "red+flower.jpg"
    # The adapter for S3 speaks of "the S3 event": with its list around it, or alone.
    data = notification["Records"][0] if bare else notification
    for outcome in (read(data, BINARY), read(event(data), STRUCTURED)):
        assert (outcome.bucket, outcome.key) == ("mybucket", "red flower.jpg")


def test_a_binary_event_without_data_is_a_tombstone() -> None:
    assert read(None, BINARY) == Skipped(SkipReason.TOMBSTONE)


def test_the_published_example_holds_no_reference() -> None:
    assert read(example("cloudevents-json.json"), STRUCTURED).code == "reference.unknown_format"


def test_a_cloudevent_within_a_cloudevent_is_not_opened() -> None:
    assert read(event(event()), STRUCTURED).code == "reference.unknown_format"


def refused(outcome: Any, code: str, place: str) -> None:
    assert isinstance(outcome, DeadLetter)
    assert outcome.code == code
    assert outcome.message.startswith(place), outcome.message


def test_data_that_is_not_json_is_an_unknown_format() -> None:
    document = example("cloudevents-xml.json")
    refused(read(document, STRUCTURED), "reference.unknown_format", "datacontenttype: ")
    avro = BINARY | {"content-type": b"application/avro"}
    refused(read(b"\x00avro", avro), "reference.unknown_format", "content-type: ")


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents+avro", b"application/cloudevents-batch+json"]
)
def test_another_event_format_is_an_unknown_format(content_type: bytes) -> None:
    outcome = read(event(), {"content-type": content_type})
    refused(outcome, "reference.unknown_format", "content-type: ")


@pytest.mark.parametrize("version", ["0.3", "1.1", "2.0"])
def test_another_version_is_an_unknown_format(version: str) -> None:
    binary = BINARY | {"ce_specversion": version.encode()}
    refused(read(REFERENCE, binary), "reference.unknown_format", "ce_specversion: ")
    structured = event(specversion=version)
    refused(read(structured, STRUCTURED), "reference.unknown_format", "specversion: ")


@pytest.mark.parametrize("name", ["id", "source", "type"])
def test_a_missing_attribute_is_refused_by_its_name(name: str) -> None:
    binary = {key: value for key, value in BINARY.items() if key != f"ce_{name}"}
    refused(read(REFERENCE, binary), "reference.invalid", f"ce_{name}: ")
    refused(read(event(**{name: None}), STRUCTURED), "reference.invalid", f"{name}: ")
    refused(read(event(**{name: ""}), STRUCTURED), "reference.invalid", f"{name}: ")


def test_a_null_header_is_an_absent_attribute() -> None:
    headers = (*BINARY.items(), ("ce_id", None))
    assert_is_the_reference(read(REFERENCE, headers))


def test_a_header_that_is_not_utf8_is_refused() -> None:
    refused(read(REFERENCE, BINARY | {"ce_id": b"\xff"}), "reference.invalid", "header ce_id: ")


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"data": None}, "data: "),
        ({"data_base64": "e30="}, "data: "),  # beside data
        ({"data": None, "data_base64": "not base64!"}, "data_base64: "),
        ({"data": None, "data_base64": "é"}, "data_base64: "),
        ({"data": None, "data_base64": 7}, "data_base64: "),
    ],
)
def test_data_must_be_there_once(attributes: dict[str, Any], place: str) -> None:
    refused(read(event(**attributes), STRUCTURED), "reference.invalid", place)
