"""Outcomes of https references: types of version 2, and the query in the dead letter alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from pipeline.events import EventBuilder, EventContext, EventsPolicy, event_id
from pipeline.events.schemas import schemas
from pipeline.events.types import EventType
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    OutputRecord,
    Partition,
    Position,
)

SECRET = "X-Amz-Signature=5feceb66"
URI = "https://images.example.com/cats/1%20a.jpg"
CONTEXT = EventContext("cluster", "group", {"images": "topic-uuid"}, "1.2.3")
BUILDER = EventBuilder(CONTEXT, EventsPolicy())
ORIGIN = Origin(Position(Partition("images", 3), 1234), 2, 1_767_225_600_123, b"a key")
REF = ImageRef(
    "images.example.com",
    "cats/1%20a.jpg",
    ("shapes",),
    metadata={"album": 1},
    scheme="https",
    query=SECRET,
)
CLASSIFIED = Classification(
    ref=REF,
    looked=Looked(
        embedding=np.array([0.5, -0.5, 0.5, 0.5], dtype=np.float32),
        model=ModelIdentity("model", "sha256:abc", 4, 100.0, "fp32", "torch-cpu"),
        image=ImageFacts("JPEG", 640, 480, 1, 0.25),
        sha256="ab" * 32,
        size_bytes=9876,
        decode_mode="strict",
        decode_crop="transformers",
    ),
    results=(
        LabelSetResult("shapes", "sha256:def", (LabelScore("square", 1.0, 0.1),), (), "keep"),
    ),
    etag="e1",
    version_id=None,
)
LETTER = DeadLetter("fetch.not_found", "https: the server answered 404; look", 1, ref=REF)
CHECKER = FormatChecker()


def headers_of(record: OutputRecord, kind: EventType) -> dict[str, str]:
    """The headers, checked against their schema."""
    headers = {name: value.decode() for name, value in record.headers}
    name = kind.removeprefix("clipstream.").replace(".", "-headers.")
    Draft202012Validator(schemas()[name], format_checker=CHECKER).validate(headers)
    assert headers["ce_type"] == kind
    assert headers["ce_id"] == event_id(CONTEXT, ORIGIN, kind)
    return headers


def test_a_classification_names_the_image_by_its_uri() -> None:
    classification, embedding = BUILDER.records(ORIGIN, CLASSIFIED)
    headers = headers_of(classification, EventType.CLASSIFICATION_V2)
    assert headers["ce_subject"] == URI
    assert headers["ce_dataschema"] == "urn:clipstream:schema:classification:v2"
    value = json.loads(classification.value)
    Draft202012Validator(schemas()["classification.v2"], format_checker=CHECKER).validate(value)
    assert value["reference"] == {
        "uri": URI,
        "id": None,
        "tenant": None,
        "metadata": {"album": 1},
    }
    of_embedding = headers_of(embedding, EventType.EMBEDDING_V2)
    assert of_embedding["classification.id"] == headers["ce_id"]
    assert of_embedding["ce_subject"] == URI


def test_apart_from_the_reference_a_classification_reads_as_in_version_1() -> None:
    of_bucket = replace(CLASSIFIED, ref=ImageRef("photos", "a", ("shapes",)))
    one, two = (
        json.loads(BUILDER.records(ORIGIN, each)[0].value) for each in (of_bucket, CLASSIFIED)
    )
    assert list(one) == list(two)
    for name in ("reference", "content_id"):
        assert one.pop(name) != two.pop(name)
    assert one == two


def test_only_a_dead_letters_value_has_the_query() -> None:
    [letter] = BUILDER.records(ORIGIN, LETTER)
    headers = headers_of(letter, EventType.DEAD_LETTER_V2)
    assert headers["ce_dataschema"] == "urn:clipstream:schema:dead-letter:v2"
    value = json.loads(letter.value)
    Draft202012Validator(schemas()["dead-letter.v2"], format_checker=CHECKER).validate(value)
    assert value == {
        "uri": URI,
        "label_sets": ["shapes"],
        "query": SECRET,
        "metadata": {"album": 1},
    }
    assert SECRET not in str(headers)
    for record in (*BUILDER.records(ORIGIN, CLASSIFIED), *BUILDER.shrink(ORIGIN, LETTER)):
        assert SECRET.encode() not in b"".join([record.value, *dict(record.headers).values()])


def test_what_a_reference_asked_for_is_kept() -> None:
    ref = replace(REF, etag="e0", id="i", tenant="t", query=None)
    classification, _ = BUILDER.records(ORIGIN, replace(CLASSIFIED, ref=ref))
    [letter] = BUILDER.records(ORIGIN, replace(LETTER, ref=ref))
    assert json.loads(classification.value)["reference"]["etag"] == "e0"
    value = json.loads(letter.value)
    assert (value["etag"], value["id"], value["tenant"]) == ("e0", "i", "t")
    assert "query" not in value


@pytest.mark.parametrize("ref", [None, ImageRef("photos", "a", ("shapes",))])
def test_other_dead_letters_stay_of_version_1(ref: ImageRef | None) -> None:
    [letter] = BUILDER.records(ORIGIN, replace(LETTER, ref=ref))
    assert dict(letter.headers)["ce_type"] == b"clipstream.dead-letter.v1"
