"""Events of images that came over HTTP: what is in them, and what never is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from pipeline.events import EventsPolicy
from pipeline.events.headers import HEADERS
from pipeline.events.schemas import schemas
from pipeline.events.served import ServedEvents, ServedImage
from pipeline.events.types import EventType
from pipeline.records import (
    EventRecord,
    ImageFacts,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
)
from pipeline.records.views import LookedViews, View

SHA256 = "ab" * 32
SENT = ServedImage("request-1", "gallery", "/v1/classify", 2, None, SHA256)
LOOKED = Looked(
    embedding=np.array([0.6, 0.8], dtype="<f4"),
    model=ModelIdentity("clip", "1", 2, 100.0, "fp32", "torch-cpu"),
    image=ImageFacts("JPEG", 40, 30, 1, 0.25),
    sha256=SHA256,
    size_bytes=7,
    decode_mode="strict",
    decode_crop="transformers",
)
RESULT = LabelSetResult(
    "animals",
    "sha256:1",
    (LabelScore("walrus", 0.9, 0.3), LabelScore("dog", 0.1, 0.2)),
    ("walrus",),
    "keep",
)


def events(**policy: Any) -> ServedEvents:
    return ServedEvents(EventsPolicy(**policy), "1.2")


def headers_of(record: EventRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def everything() -> list[EventRecord]:
    return [*events().looked_at(SENT, LOOKED, [RESULT]), events().failed(SENT, "decode.corrupt")]


@pytest.mark.parametrize("embeddings", [True, False])
def test_an_image_of_several_views_lists_them(embeddings: bool) -> None:
    places = (View("centre", 0, 5.0, 0.0, 35.0, 30.0), View("tile", 0, 0.0, 0.0, 30.0, 30.0))
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]], dtype="<f4")
    looked = replace(LOOKED, views=LookedViews(places, vectors))
    scores = tuple(replace(score, view=1) for score in RESULT.scores)
    result = replace(RESULT, scores=scores)
    image = events(embeddings=embeddings).looked_at(SENT, looked, [result])[0]
    value = json.loads(image.value)
    Draft202012Validator(schemas()["served-image.v1"]).validate(value)
    first, second = value["views"]
    assert (second["kind"], second["frame"], second["left"], second["right"]) == ("tile", 0, 0, 30)
    assert ("embedding" in first) is embeddings
    if embeddings:
        assert base64.b64decode(second["embedding"]) == vectors[1].tobytes()
    assert [score["view"] for score in value["results"][0]["scores"]] == [1, 1]


def test_an_image_has_an_event_and_its_embedding_another() -> None:
    image, embedding = events().looked_at(SENT, LOOKED, [RESULT], etag="e", version_id="v")
    value = json.loads(image.value)
    assert value["request"] == {
        "id": "request-1",
        "key": "gallery",
        "route": "/v1/classify",
        "index": 2,
    }
    assert value["object"] == {"etag": "e", "version_id": "v", "sha256": SHA256, "size_bytes": 7}
    (result,) = value["results"]
    assert result["label_set"] == "animals"
    assert [score["label"] for score in result["scores"]] == ["walrus", "dog"]
    assert embedding.value == LOOKED.embedding.tobytes()
    assert headers_of(embedding)["content.id"] == value["content_id"]
    assert headers_of(embedding)["image.id"] == headers_of(image)["ce_id"]
    assert image.key == embedding.key == b"request-1"


def test_embeddings_can_be_left_out() -> None:
    (image,) = events(embeddings=False).looked_at(SENT, LOOKED, [])
    assert json.loads(image.value)["results"] == []


def test_an_image_that_failed_has_its_code() -> None:
    value = json.loads(events().failed(SENT, "decode.unsupported_format").value)
    assert (value["code"], value["stage"]) == ("decode.unsupported_format", "decode")
    assert value["sha256"] == SHA256


def test_labels_of_the_request_are_in_no_event() -> None:
    image, embedding = events().looked_at(SENT, LOOKED, [RESULT], own_labels=True)
    assert json.loads(image.value)["results"] == [
        {"label_set": None, "version": "sha256:1", "decision": "keep", "matched": [], "scores": []}
    ]
    for record in (image, embedding):
        assert b"walrus" not in record.value + repr(record.headers).encode()


def test_the_subject_is_the_address_of_an_image_that_has_one() -> None:
    located = replace(SENT, uri="s3://photos/cat.jpg", sha256=None)
    (image, _) = events().looked_at(located, LOOKED, [])
    assert headers_of(image)["ce_subject"] == "s3://photos/cat.jpg"
    assert json.loads(image.value)["uri"] == "s3://photos/cat.jpg"
    sent, _ = events().looked_at(SENT, LOOKED, [])
    assert headers_of(sent)["ce_subject"] == f"sha256:{SHA256}"
    assert json.loads(sent.value)["uri"] is None


def test_events_are_as_their_schemas_say() -> None:
    documents = schemas()
    for record in everything():
        headers = headers_of(record)
        kind = EventType(headers["ce_type"])
        named, _, version = kind.removeprefix("clipstream.").rpartition(".")
        Draft202012Validator(documents[f"{named}-headers.{version}"]).validate(headers)
        assert headers.keys() == {header.name for header in HEADERS[kind]}
        if headers["content-type"] == "application/json":
            Draft202012Validator(documents[f"{named}.{version}"]).validate(json.loads(record.value))


def test_a_request_that_is_sent_again_repeats_its_events() -> None:
    assert everything() == everything()


@pytest.mark.parametrize(
    "other",
    [
        replace(SENT, request_id="request-2"),
        replace(SENT, key="other"),
        replace(SENT, route="/v1/embeddings"),
        replace(SENT, index=3),
        replace(SENT, sha256="cd" * 32),
        replace(SENT, uri="s3://photos/cat.jpg"),
    ],
)
def test_an_event_id_differs_with_each_part_of_its_name(other: ServedImage) -> None:
    kinds = (EventType.SERVED_IMAGE, EventType.SERVED_EMBEDDING, EventType.SERVED_ERROR)
    assert len({image.event_id(kind) for image in (SENT, other) for kind in kinds}) == 6


def test_event_ids_never_change_between_releases() -> None:
    assert SENT.event_id(EventType.SERVED_IMAGE) == "8e1ca459-61e2-5112-9bd3-52e7030303de"
