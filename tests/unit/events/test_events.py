"""Classifications and embeddings as records."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from pipeline.content import content_id
from pipeline.events import EventBuilder, EventContext, EventsPolicy, event_id
from pipeline.events.headers import HEADERS
from pipeline.events.schemas import CLASSIFICATION_SCHEMA, schemas
from pipeline.events.types import EventType
from pipeline.records import (
    Classification,
    ImageFacts,
    ImageRef,
    JsonValue,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    Outcome,
    OutputRecord,
    OutputTopic,
    Partition,
    Position,
    Skipped,
)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONTEXT = EventContext(
    cluster_id="cluster",
    group="group",
    topic_ids={"images": "0b1f6a52-6c1d-4f4e-9d0f-5f6f2d8f7a11"},
    version="1.2.3",
)
ORIGIN = Origin(Position(Partition("images", 3), 1234), 2, 1_767_225_600_123, b"a key", TRACE)
REF = ImageRef(
    bucket="photos",
    key="2026/café 1.jpg",
    label_sets=("shapes",),
    version_id="asked",
    etag="asked-etag",
    id="upload-1",
    tenant="gallery",
    metadata=MappingProxyType({"album": ["winter", 1, None, {"deep": True}]}),
)
LOOKED = Looked(
    embedding=np.array([0.5, -0.5, 0.5, 0.5], dtype=np.float32),
    model=ModelIdentity("model", "sha256:abc", 4, 100.0, "fp32", "torch-cpu"),
    image=ImageFacts("JPEG", 640, 480, 1, 0.25),
    sha256="ab" * 32,
    size_bytes=9876,
    decode_mode="strict",
    decode_crop="transformers",
)
CLASSIFIED = Classification(
    ref=REF,
    looked=LOOKED,
    results=(
        LabelSetResult(
            "shapes",
            "sha256:def",
            (LabelScore("square", 0.1 + 0.2, 0.123456789012345), LabelScore("circle", 0.7, -0.5)),
            ("circle",),
            "review",
        ),
    ),
    etag="read-etag",
    version_id="read",
)


def build(
    outcome: Outcome = CLASSIFIED, origin: Origin = ORIGIN, **policy: Any
) -> tuple[OutputRecord, ...]:
    return EventBuilder(CONTEXT, EventsPolicy(**policy)).records(origin, outcome)


def texts(record: OutputRecord) -> dict[str, str]:
    names = [name for name, _ in record.headers]
    assert len(names) == len(set(names))
    return {name: value.decode() for name, value in record.headers}


def check(record: OutputRecord, name: str) -> None:
    validator = Draft202012Validator(schemas()[name], format_checker=FormatChecker())
    validator.validate(json.loads(record.value))


def test_a_decision_that_was_raised_says_why_and_any_other_says_nothing() -> None:
    result = replace(CLASSIFIED.results[0], raised=("frames",), labels_decision="keep")
    record = build(replace(CLASSIFIED, results=(result,)))[0]
    check(record, "classification.v1")
    (told,) = json.loads(record.value)["results"]
    assert (told["raised"], told["labels_decision"]) == (["frames"], "keep")
    assert (
        not {"raised", "labels_decision", "shadow"}
        & json.loads(build()[0].value)["results"][0].keys()
    )


def test_a_result_of_a_label_set_that_is_tried_out_is_marked() -> None:
    tried = replace(CLASSIFIED.results[0], shadow=True)
    record = build(replace(CLASSIFIED, results=(*CLASSIFIED.results, tried)))[0]
    check(record, "classification.v1")
    live, shadow = json.loads(record.value)["results"]
    assert shadow == live | {"shadow": True}


def test_a_classification_has_every_field_of_its_outcome() -> None:
    record = build()[0]
    assert record.topic is OutputTopic.CLASSIFICATIONS
    assert record.key == b"a key"
    assert json.loads(record.value) == {
        "reference": {
            "uri": "s3://photos/2026/café 1.jpg",
            "bucket": "photos",
            "key": "2026/café 1.jpg",
            "version_id": "asked",
            "etag": "asked-etag",
            "id": "upload-1",
            "tenant": "gallery",
            "metadata": {"album": ["winter", 1, None, {"deep": True}]},
        },
        "object": {
            "etag": "read-etag",
            "version_id": "read",
            "sha256": "ab" * 32,
            "size_bytes": 9876,
        },
        "image": {
            "format": "JPEG",
            "width": 640,
            "height": 480,
            "frames": 1,
            "cropped_share": 0.25,
        },
        "model": {
            "name": "model",
            "revision": "sha256:abc",
            "dimension": 4,
            "logit_scale": 100.0,
            "precision": "fp32",
            "engine": "torch-cpu",
        },
        "results": [
            {
                "label_set": "shapes",
                "version": "sha256:def",
                "decision": "review",
                "matched": ["circle"],
                "scores": [
                    {"label": "square", "score": 0.1 + 0.2, "similarity": 0.123456789012345},
                    {"label": "circle", "score": 0.7, "similarity": -0.5},
                ],
            }
        ],
        "decode_mode": "strict",
        "decode_crop": "transformers",
        "position": {"topic": "images", "partition": 3, "offset": 1234, "index": 2},
        "record_timestamp": "2026-01-01T00:00:00.123Z",
        "clipstream_version": "1.2.3",
        "content_id": content_id(LOOKED, "s3://photos/2026/café 1.jpg", "read-etag", "read"),
    }
    check(record, CLASSIFICATION_SCHEMA)


def test_a_classification_is_a_cloudevent_in_binary_mode() -> None:
    assert build()[0].headers == (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"clipstream.classification.v1"),
        ("ce_source", b"/clipstream/cluster/group/images"),
        ("ce_id", event_id(CONTEXT, ORIGIN, EventType.CLASSIFICATION).encode()),
        ("ce_time", b"2026-01-01T00:00:00.123Z"),
        ("ce_subject", b"upload-1"),
        ("traceparent", TRACE.encode()),
        ("content-type", b"application/json"),
        ("ce_dataschema", b"urn:clipstream:schema:classification:v1"),
        ("decision", b"review"),
        ("decision.label-set", b"shapes"),
    )


def test_the_value_is_compact_utf8() -> None:
    value = build()[0].value
    assert "café".encode() in value
    assert b'"bucket":"photos","key"' in value


def test_what_is_unknown_is_null_in_a_value_and_absent_from_headers() -> None:
    origin = Origin(ORIGIN.position, 0, -1)
    ref = ImageRef("photos", "cat.jpg", ("shapes",))
    outcome = replace(CLASSIFIED, ref=ref, etag=None, version_id=None)
    classification, embedding = build(outcome, origin)
    value = json.loads(classification.value)
    check(classification, CLASSIFICATION_SCHEMA)
    assert value["record_timestamp"] is None
    assert value["object"]["version_id"] is None
    assert value["reference"]["metadata"] == {}
    optional = {header.name for header in HEADERS[EventType.EMBEDDING] if not header.required}
    # These are always known, and absent in events of earlier versions.
    optional -= {"decode.crop", "content.id", "object.uri"}
    assert optional.isdisjoint(texts(embedding))
    assert classification.key is None


def test_the_subject_is_the_uri_of_a_reference_without_an_id() -> None:
    record = build(replace(CLASSIFIED, ref=replace(REF, id=None)))[0]
    assert texts(record)["ce_subject"] == "s3://photos/2026/café 1.jpg"


def test_characters_that_cloudevents_forbids_are_escaped_in_headers_and_exact_in_values() -> None:
    key = "a\nb\x00c\u202ed\ufffee\x85"
    record = build(replace(CLASSIFIED, ref=replace(REF, id=None, key=key)))[0]
    assert texts(record)["ce_subject"] == "s3://photos/a\\u000ab\\u0000c\\u202ed\\ufffee\\u0085"
    assert json.loads(record.value)["reference"]["key"] == key


def test_a_lone_surrogate_is_escaped_and_reads_back() -> None:
    ref = replace(REF, id="\udc80", metadata={"note": "x\ud800y"})
    record = build(replace(CLASSIFIED, ref=ref))[0]
    assert b'"x\\ud800y"' in record.value
    assert json.loads(record.value.decode())["reference"]["metadata"] == {"note": "x\ud800y"}
    assert texts(record)["ce_subject"] == "\\udc80"


@pytest.mark.parametrize("timestamp_ms", [-1, -(2**63), 253_402_300_800_000, 2**63 - 1])
def test_a_timestamp_that_no_calendar_has_is_left_out(timestamp_ms: int) -> None:
    record = build(origin=replace(ORIGIN, timestamp_ms=timestamp_ms))[0]
    assert json.loads(record.value)["record_timestamp"] is None
    assert "ce_time" not in texts(record)


@pytest.mark.parametrize(
    ("timestamp_ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (253_402_300_799_999, "9999-12-31T23:59:59.999Z")],
)
def test_the_first_and_the_last_timestamp_are_written(timestamp_ms: int, text: str) -> None:
    record = build(origin=replace(ORIGIN, timestamp_ms=timestamp_ms))[0]
    assert texts(record)["ce_time"] == text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_published(number: float) -> None:
    result = replace(CLASSIFIED.results[0], scores=(LabelScore("square", number, 0.0),))
    with pytest.raises(ValueError, match="JSON compliant"):
        build(replace(CLASSIFIED, results=(result,)))


@pytest.mark.parametrize("word", ["NaN", "-Infinity"])
def test_a_word_that_looks_like_no_number_is_published_as_it_is(word: str) -> None:
    metadata: dict[str, JsonValue] = {word: [word, 1e-07, 1e22, 2**70]}
    record = build(replace(CLASSIFIED, ref=replace(REF, metadata=metadata)))[0]
    assert json.loads(record.value)["reference"]["metadata"] == metadata


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_embedding_is_little_endian_whatever_the_array(
    dtype: str, order: Literal["<", ">"]
) -> None:
    vector = np.array([0.5, -0.25, 0.0, 1.0], dtype=np.dtype(dtype).newbyteorder(order))
    record = build(replace(CLASSIFIED, looked=replace(LOOKED, embedding=vector)))[1]
    headers = texts(record)
    assert record.topic is OutputTopic.EMBEDDINGS
    assert record.key == b"a key"
    assert headers["embedding.dtype"] == dtype
    assert headers["embedding.dimension"] == "4"
    read = np.frombuffer(record.value, np.dtype(dtype).newbyteorder("<"))
    np.testing.assert_array_equal(read, vector)


def test_a_strided_embedding_is_written_in_order() -> None:
    vector = np.arange(8, dtype=np.float32)[::2]
    value = build(replace(CLASSIFIED, looked=replace(LOOKED, embedding=vector)))[1].value
    assert np.frombuffer(value, "<f4").tolist() == [0, 2, 4, 6]


def test_an_embedding_names_model_object_and_classification() -> None:
    classification, embedding = build()
    assert embedding.headers == (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"clipstream.embedding.v1"),
        ("ce_source", b"/clipstream/cluster/group/images"),
        ("ce_id", event_id(CONTEXT, ORIGIN, EventType.EMBEDDING).encode()),
        ("ce_time", b"2026-01-01T00:00:00.123Z"),
        ("ce_subject", b"upload-1"),
        ("traceparent", TRACE.encode()),
        ("content-type", b"application/octet-stream"),
        ("classification.id", dict(classification.headers)["ce_id"]),
        ("embedding.dtype", b"float32"),
        ("embedding.dimension", b"4"),
        ("embedding.normalised", b"true"),
        ("model.name", b"model"),
        ("model.revision", b"sha256:abc"),
        ("model.precision", b"fp32"),
        ("model.engine", b"torch-cpu"),
        ("decode.mode", b"strict"),
        ("decode.crop", b"transformers"),
        ("object.sha256", b"ab" * 32),
        ("object.uri", "s3://photos/2026/café 1.jpg".encode()),
        ("object.etag", b"read-etag"),
        ("object.version-id", b"read"),
        ("tenant", b"gallery"),
        ("clipstream.version", b"1.2.3"),
        ("content.id", json.loads(build()[0].value)["content_id"].encode()),
    )


def test_embeddings_can_be_switched_off() -> None:
    assert [record.topic for record in build(embeddings=False)] == [OutputTopic.CLASSIFICATIONS]
    assert build(embeddings=False) == build()[:1]


def test_a_skip_publishes_nothing() -> None:
    assert build(Skipped("tombstone")) == ()


def test_event_ids_never_change_between_releases() -> None:
    types = (EventType.CLASSIFICATION, EventType.EMBEDDING, EventType.DEAD_LETTER)
    assert [event_id(CONTEXT, ORIGIN, each) for each in types] == [
        "78b9de6c-55d0-5098-bbb3-63600118c6b6",
        "60543d5b-1033-5a59-9010-353cc6aeeda9",
        "aa75a1da-28c3-5521-af50-6a925a2c4d87",
    ]


@pytest.mark.parametrize(
    ("context", "origin"),
    [
        (replace(CONTEXT, cluster_id="other"), ORIGIN),
        (replace(CONTEXT, group="other"), ORIGIN),
        (replace(CONTEXT, topic_ids={"images": "re-created"}), ORIGIN),
        (CONTEXT, replace(ORIGIN, position=Position(Partition("images", 4), 1234))),
        (CONTEXT, replace(ORIGIN, position=Position(Partition("images", 3), 1235))),
        (CONTEXT, replace(ORIGIN, index=3)),
    ],
)
def test_an_event_id_differs_with_each_part_of_its_name(
    context: EventContext, origin: Origin
) -> None:
    ids = {
        event_id(each, where, kind)
        for each, where in ((CONTEXT, ORIGIN), (context, origin))
        for kind in EventType
    }
    assert len(ids) == 2 * len(EventType)


def test_an_event_id_depends_on_nothing_that_a_redelivery_may_change() -> None:
    again = replace(ORIGIN, key=None, traceparent=None, timestamp_ms=0)
    upgraded = replace(CONTEXT, version="9.9.9")
    kind = EventType.CLASSIFICATION
    assert event_id(upgraded, again, kind) == event_id(CONTEXT, ORIGIN, kind)


def test_a_source_is_a_uri_reference_whatever_the_group_is_called() -> None:
    context = replace(CONTEXT, group="team/a b#é")
    record = EventBuilder(context, EventsPolicy()).records(ORIGIN, CLASSIFIED)[0]
    assert texts(record)["ce_source"] == "/clipstream/cluster/team%2Fa%20b%23%C3%A9/images"


def test_a_reference_that_comes_twice_has_two_event_ids_and_one_subject() -> None:
    later = replace(ORIGIN, position=Position(Partition("images", 3), 1235))
    first, second = build()[0], build(origin=later)[0]
    assert texts(first)["ce_id"] != texts(second)["ce_id"]
    assert texts(first)["ce_subject"] == texts(second)["ce_subject"] == "upload-1"
