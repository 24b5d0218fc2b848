"""The reference page of the published events: every header, every field, and an example of each,
built by the code that builds the real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from deploy.dev.reference import label_set
from deploy.dev.reference.event_parts import example_of, fields_of, headers_of
from deploy.dev.reference.markdown import NOTICE
from pipeline.content import content_id
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.action_values import ReviewValue
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.events.envelope import own_attributes
from pipeline.events.headers import ORIGINAL_PREFIX, EventType
from pipeline.events.label_set_values import LABEL_SET_SCHEMA
from pipeline.events.parts import as_json, json_content
from pipeline.events.schemas import (
    ACTION_SCHEMA,
    BACKFILL_CLASSIFICATION_SCHEMA,
    BACKFILL_DEAD_LETTER_SCHEMA,
    CLASSIFICATION_SCHEMA,
    CLASSIFICATION_SCHEMA_V2,
    DEAD_LETTER_SCHEMA,
    DEAD_LETTER_SCHEMA_V2,
    REMOVAL_SCHEMA,
    REVIEW_SCHEMA,
    SERVED_ERROR_SCHEMA,
    SERVED_IMAGE_SCHEMA,
    schemas,
)
from pipeline.events.served import ServedEvents, ServedImage
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
    Skipped,
)

_INTRODUCTION = """\
Every event is a CloudEvent in Kafka's binary mode. The attributes are headers, the data is the
value. The key of an event of the stream is the key of the input record.
[events.md](../events.md) says how to read events. [docs/schemas](../schemas) has JSON Schemas of
values and headers.

Headers contain control characters, and other characters that CloudEvents forbids, as `\\uXXXX`. The
value contains the exact string.
"""

_ORIGINAL_HEADERS = f"""\
A record that could not be parsed also keeps its own headers, in their order and byte for byte. The
name of each has the prefix `{ORIGINAL_PREFIX}`.
"""

_VERSION_2 = """\
Outcomes of `https://` references have types of version 2. Their headers have the names and meanings
of version 1. Their values name the image by its `uri`, without the query. Only the value of a dead
letter has the query, because a replay needs it.
"""

_REPLAY = """\
`clipstream replay` publishes this event when it has sent the reference of a dead letter once more.
The event is on the dead-letter topic, after the dead letter and with the same key. The value is
empty.
"""

_ACTION = """\
The stream publishes this event where `kafka.output_topics.actions` names a topic: one for each
image with a decision that is not its label set's default, and one for each dead letter. The key is
that of the input record.
"""

_REVIEW = """\
Tools of reviewers write this event. Clipstream defines it, and neither writes nor reads it. Give it
the key of the action.
"""

_REMOVAL = """\
The stream publishes this event where `events.removals` is on: one for each notification that an
object was deleted. It is on the topic of embeddings, with the key of the input record, so a reader
of that topic has the vectors of a key and their removal in order.
"""

_SERVED = """\
`clipstream serve` publishes these events where `serve.publish` is `kafka`. The key is the id of the
request. Bodies of requests and texts for the model are in no event.
"""

_BACKFILL = """\
`clipstream backfill publish` publishes these events, to the topics of `backfill.topics`. The key is
the subject. Values are those of the stream, with `job` in place of `position`.
"""

_CONTEXT = EventContext(
    cluster_id="5L6g3nShT-eMCtK--X86sw",
    group="clipstream",
    topic_ids={"images": "0b1f6a52-6c1d-4f4e-9d0f-5f6f2d8f7a11"},
    version="0.1.0",
)
_LABEL_SET = """\
Workers publish each version of a label set before they use it, to the compacted topic
`kafka.output_topics.label_sets`. The key is the version. `clipstream labels show` reads it back.
"""


def render() -> str:
    """The page as Markdown."""
    builder = EventBuilder(_CONTEXT, EventsPolicy())
    classification, embedding = builder.records(_origin(41), _classified())
    (dead_reference,) = builder.records(_origin(42), _unfetched())
    unparsed = (_origin(43), _unparsed(), _unreadable())
    (dead_record,) = builder.records(*unparsed)
    (shrunk,) = builder.shrink(*unparsed)
    classification_2, embedding_2 = builder.records(_origin(44), _classified(_on_the_web()))
    (dead_url,) = builder.records(_origin(45), _unfetched(_on_the_web()))
    values = schemas()
    return "\n".join(
        (
            f"# Events\n\n{NOTICE}\n\n{_INTRODUCTION}",
            "## Classification\n",
            headers_of(EventType.CLASSIFICATION),
            "Value, JSON in UTF-8:\n",
            fields_of(values[CLASSIFICATION_SCHEMA]),
            example_of("Example", classification),
            "## Embedding\n",
            headers_of(EventType.EMBEDDING),
            "Value: the elements, little-endian, nothing else.\n",
            example_of("Example", embedding),
            "## Dead letter\n",
            headers_of(EventType.DEAD_LETTER),
            _ORIGINAL_HEADERS,
            "Value if `dlq.payload` is `reference`, JSON in UTF-8:\n",
            fields_of(values[DEAD_LETTER_SCHEMA]),
            example_of("Example of a reference", dead_reference),
            example_of("Example of a record that could not be parsed", dead_record),
            example_of("The same, had it not fitted the topic", shrunk),
            f"## Version 2: images on web servers\n\n{_VERSION_2}",
            f"Type `{EventType.CLASSIFICATION_V2}`, value, JSON in UTF-8:\n",
            fields_of(values[CLASSIFICATION_SCHEMA_V2]),
            example_of("Example", classification_2),
            f"Type `{EventType.EMBEDDING_V2}`, with a value as of version 1.\n",
            example_of("Example", embedding_2),
            f"Type `{EventType.DEAD_LETTER_V2}`, value of a `reference`, JSON in UTF-8:\n",
            fields_of(values[DEAD_LETTER_SCHEMA_V2]),
            example_of("Example of a reference", dead_url),
            "## Replay\n",
            _REPLAY,
            headers_of(EventType.REPLAY),
            *_actions(values),
            *_served(values),
            *_backfill(values),
            *_label_set(values),
        )
    )


def _actions(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about actions, removals and reviews."""
    builder = EventBuilder(_CONTEXT, EventsPolicy(), actions=True)
    classified = _classified()
    calling = replace(
        classified.results[0], decision="review", severe_label="cat", severity=1, is_default=False
    )
    *_, action = builder.records(_origin(41), replace(classified, results=(calling,)))
    _, of_letter = builder.records(_origin(42), _unfetched())
    yield "## Action\n"
    yield _ACTION
    yield headers_of(EventType.ACTION)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[ACTION_SCHEMA])
    yield example_of("Example", action)
    yield example_of("Example of a dead letter's action", of_letter)
    (removal,) = builder.records(_origin(46), Skipped("deleted", _removal()))
    yield "## Removal\n"
    yield _REMOVAL
    yield headers_of(EventType.REMOVAL)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[REMOVAL_SCHEMA])
    yield example_of("Example", removal)
    yield "## Review\n"
    yield _REVIEW
    yield headers_of(EventType.REVIEW)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[REVIEW_SCHEMA])
    yield example_of("Example", _review(dict(action.headers)["ce_id"].decode()))


def _served(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about images that came over HTTP."""
    events = ServedEvents(EventsPolicy(), "0.1.0")
    sent, outcome = _sent(), _classified()
    image, embedding = events.looked_at(sent, outcome.looked, outcome.results)
    yield "## Served image\n"
    yield _SERVED
    yield headers_of(EventType.SERVED_IMAGE)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[SERVED_IMAGE_SCHEMA])
    yield example_of("Example", image)
    yield "## Served embedding\n"
    yield headers_of(EventType.SERVED_EMBEDDING)
    yield "Value: the elements, little-endian, nothing else.\n"
    yield example_of("Example", embedding)
    yield "## Served error\n"
    yield headers_of(EventType.SERVED_ERROR)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[SERVED_ERROR_SCHEMA])
    yield example_of("Example", events.failed(sent, "decode.truncated"))


def _backfill(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about rows of a backfill."""
    events, outcome = BackfillEvents(EventsPolicy(), "0.1.0"), _classified()
    content = content_id(outcome.looked, outcome.ref.uri, outcome.etag, outcome.version_id)
    row = BackfilledRow("6b1f7c9e-2f0a-4d0c-9a54-0d6b8f1f6f0a", 12, 3071, content)
    classification, embedding = events.records(row, outcome)
    (letter,) = events.records(row, _unfetched())
    yield "## Backfill classification\n"
    yield _BACKFILL
    yield headers_of(EventType.BACKFILL_CLASSIFICATION)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[BACKFILL_CLASSIFICATION_SCHEMA])
    yield example_of("Example", classification)
    yield "## Backfill embedding\n"
    yield headers_of(EventType.BACKFILL_EMBEDDING)
    yield "Value: the elements, little-endian, nothing else.\n"
    yield example_of("Example", embedding)
    yield "## Backfill dead letter\n"
    yield headers_of(EventType.BACKFILL_DEAD_LETTER)
    yield "Value if `dlq.payload` is `reference`, JSON in UTF-8:\n"
    yield fields_of(values[BACKFILL_DEAD_LETTER_SCHEMA])
    yield example_of("Example", letter)


def _label_set(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about recorded label sets."""
    yield "## Label set\n"
    yield _LABEL_SET
    yield headers_of(EventType.LABEL_SET)
    yield "Value, JSON in UTF-8:\n"
    yield fields_of(values[LABEL_SET_SCHEMA])
    yield example_of("Example", label_set.example(_classified().looked.model))


def _origin(offset: int) -> Origin:
    return Origin(
        Position(Partition("images", 2), offset),
        index=0,
        timestamp_ms=1_767_225_600_123,
        key=b"user-81",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )


def _reference() -> ImageRef:
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


def _on_the_web() -> ImageRef:
    return replace(
        _reference(),
        scheme="https",
        bucket="images.example.com",
        key="2026/01/cat%201.jpg",
        query="width=640&signature=5feceb66",
        version_id=None,
        id=None,
    )


def _classified(ref: ImageRef | None = None) -> Classification:
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
        ref=ref or _reference(),
        looked=looked,
        results=(result,),
        etag="9b2cf535f27731c974343645a3985328",
        version_id=None if ref else "L4kqtJlcpXroDTDmpUMLUo",
    )


def _removal() -> Removal:
    return Removal(
        bucket="photos",
        key="2026/01/cat 1.jpg",
        event="ObjectRemoved:Delete",
        version_id="L4kqtJlcpXroDTDmpUMLUo",
        notification_id="C3D13FE58DE4C810",
        removed_at="2026-01-01T07:59:58.000Z",
        tenant="gallery",
    )


def _review(action_id: str) -> EventRecord:
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


def _sent() -> ServedImage:
    sha256 = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
    return ServedImage("b6c0f1b1f5a94c0c", "gallery-web", "/v1/classify", 0, None, sha256)


def _unfetched(ref: ImageRef | None = None) -> DeadLetter:
    return DeadLetter(
        code="fetch.not_found",
        message="fetch: the version does not exist; check lifecycle rules and upload order"
        if ref is None
        else "https: the server answered 404; check that the image is there before its message",
        attempts=3,
        ref=ref or _reference(),
        unclassified_action="review",
    )


def _unparsed() -> DeadLetter:
    return DeadLetter(
        code="reference.not_json",
        message="references: the value ends inside an object; see the raw bytes",
        attempts=1,
    )


def _unreadable() -> Record:
    origin = _origin(43)
    headers = (("content-type", b"application/json"), ("retries", None))
    value = b'{"bucket": "photos",'
    return Record(origin.position, origin.timestamp_ms, origin.key, value, headers)
