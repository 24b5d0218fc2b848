"""The outcomes that the examples of the page of events are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.events import EventContext
from pipeline.events.envelope import own_attributes
from pipeline.events.parts import as_json, json_content
from pipeline.events.schemas import (
    REVIEW_SCHEMA,
)
from pipeline.events.served import ServedImage
from pipeline.events.types import EventType
from pipeline.events.values.actions import ReviewValue
from pipeline.records import (
    Asked,
    Classification,
    DeadLetter,
    EventRecord,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    Partition,
    Position,
    Record,
    Removal,
)

CONTEXT = EventContext(
    cluster_id="5L6g3nShT-eMCtK--X86sw",
    group="clipstream",
    topic_ids={"images": "0b1f6a52-6c1d-4f4e-9d0f-5f6f2d8f7a11"},
    version="0.1.0",
)


def origin(offset: int) -> Origin:
    return Origin(
        Position(Partition("images", 2), offset),
        index=0,
        timestamp_ms=1_767_225_600_123,
        key=b"user-81",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )


def reference() -> ImageRef:
    return ImageRef(
        bucket="photos",
        key="2026/01/cat 1.jpg",
        label_sets=("animals",),
        version_id="L4kqtJlcpXroDTDmpUMLUo",
        id="upload-20417",
        tenant="gallery",
        metadata={"album": "winter"},
        asked=Asked(tenant="gallery"),
    )


def on_the_web() -> ImageRef:
    return replace(
        reference(),
        scheme="https",
        bucket="images.example.com",
        key="2026/01/cat%201.jpg",
        query="width=640&signature=5feceb66",
        version_id=None,
        id=None,
    )


def classified(ref: ImageRef | None = None) -> Classification:
    dimension = 512
    looked = Looked(
        embedding=np.full(dimension, dimension**-0.5, dtype="<f4"),
        model=ModelIdentity(
            name="openai/clip-vit-base-patch32",
            revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
            dimension=dimension,
            logit_scale=100.0,
            precision="fp32",
            engine="torch-cpu",
        ),
        image=ImageFacts(
            format="JPEG",
            width=1600,
            height=1200,
            frames=1,
            cropped_share=0.25,
        ),
        sha256="5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
        size_bytes=184_213,
        decode_mode="strict",
        decode_crop="transformers",
    )
    result = LabelSetResult(
        label_set="animals",
        version=f"sha256:{'9f2c6a0e' * 8}",
        scores=(
            # softmax(100 * similarity), as literals: exp differs in its last bit between
            # platforms, and this page must not.
            LabelScore("cat", 0.9674940036436456, 0.271),
            LabelScore("dog", 0.03228843856859602, 0.237),
            LabelScore("neither", 0.000217557787758427, 0.187),
        ),
        matched=("cat",),
        decision="keep",
    )
    return Classification(
        ref=ref or reference(),
        looked=looked,
        results=(result,),
        etag="9b2cf535f27731c974343645a3985328",
        version_id=None if ref else "L4kqtJlcpXroDTDmpUMLUo",
    )


def removal() -> Removal:
    return Removal(
        bucket="photos",
        key="2026/01/cat 1.jpg",
        event="ObjectRemoved:Delete",
        version_id="L4kqtJlcpXroDTDmpUMLUo",
        notification_id="C3D13FE58DE4C810",
        removed_at="2026-01-01T07:59:58.000Z",
        tenant="gallery",
    )


def review(action_id: str) -> EventRecord:
    value: ReviewValue = {
        "action_id": action_id,
        "verdict": "overrule",
        "decision": "keep",
        "reason": "a drawing",
        "reviewer": "r-7f3a",
        "reviewed_at": "2026-01-01T08:15:00Z",
    }
    headers = (
        *own_attributes(
            EventType.REVIEW,
            b"https://review.example.com",
            "b1c1a0a4-6f5d-4f6c-8d0e-0c6a3f1f2f11",
            "upload-20417",
        ),
        *json_content(REVIEW_SCHEMA),
        ("review.verdict", value["verdict"].encode()),
    )
    return EventRecord(b"user-81", as_json(value), headers)


def sent() -> ServedImage:
    sha256 = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
    return ServedImage("b6c0f1b1f5a94c0c", "gallery-web", "/v1/classify", 0, None, sha256)


def unfetched(ref: ImageRef | None = None) -> DeadLetter:
    return DeadLetter(
        code="fetch.not_found",
        message="fetch: the version does not exist; check lifecycle rules and upload order"
        if ref is None
        else "https: the server answered 404; check that the image is there before its message",
        attempts=3,
        ref=ref or reference(),
        unclassified_action="review",
    )


def unparsed() -> DeadLetter:
    return DeadLetter(
        code="reference.not_json",
        message="references: the value ends inside an object; see the raw bytes",
        attempts=1,
    )


def unreadable() -> Record:
    place = origin(43)
    headers = (("content-type", b"application/json"), ("retries", None))
    value = b'{"bucket": "photos",'
    return Record(place.position, place.timestamp_ms, place.key, value, headers)
