"""The reference page of the published events: every header, every field, and an example of each,
built by the code that builds the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from deploy.dev.reference import label_set
from deploy.dev.reference.markdown import NOTICE, table
from pipeline.content import content_id
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.events.headers import HEADERS, ORIGINAL_PREFIX, EventType
from pipeline.events.label_set_values import LABEL_SET_SCHEMA
from pipeline.events.schemas import (
    BACKFILL_CLASSIFICATION_SCHEMA,
    BACKFILL_DEAD_LETTER_SCHEMA,
    CLASSIFICATION_SCHEMA,
    CLASSIFICATION_SCHEMA_V2,
    DEAD_LETTER_SCHEMA,
    DEAD_LETTER_SCHEMA_V2,
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
    OutputRecord,
    Partition,
    Position,
    Record,
)

SHOWN_BYTES = 16

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

_SERVED = """\
`clipstream serve` publishes these events where `serve.publish` is `kafka`. The key is the id of the
request. Bodies of requests and texts for the model are in no event.
"""

_BACKFILL = """\
`clipstream backfill publish` publishes these events, to the topics of `backfill.topics`. The key is
the subject. Values are those of the stream, with `job` in place of `position`.
"""

_LABEL_SET = """\
Workers publish each version of a label set before they use it, to the compacted topic
`kafka.output_topics.label_sets`. The key is the version. `clipstream labels show` reads it back.
"""

Row = tuple[str, str, str]


def render() -> str:
    """The page as Markdown."""
    builder = EventBuilder(
        EventContext(
            cluster_id="5L6g3nShT-eMCtK--X86sw",
            group="clipstream",
            topic_ids={"images": "0b1f6a52-6c1d-4f4e-9d0f-5f6f2d8f7a11"},
            version="0.1.0",
        ),
        EventsPolicy(),
    )
    classification, embedding = builder.records(_origin(41), _classified())
    (dead_reference,) = builder.records(_origin(42), _unfetched())
    unparsed = (_origin(43), _unparsed(), _unreadable())
    (dead_record,) = builder.records(*unparsed)
    shrunk = builder.shrink(*unparsed)
    classification_2, embedding_2 = builder.records(_origin(44), _classified(_on_the_web()))
    (dead_url,) = builder.records(_origin(45), _unfetched(_on_the_web()))
    values = schemas()
    return "\n".join(
        (
            f"# Events\n\n{NOTICE}\n\n{_INTRODUCTION}",
            "## Classification\n",
            _headers(EventType.CLASSIFICATION),
            "Value, JSON in UTF-8:\n",
            _fields(values[CLASSIFICATION_SCHEMA]),
            _example("Example", classification),
            "## Embedding\n",
            _headers(EventType.EMBEDDING),
            "Value: the elements, little-endian, nothing else.\n",
            _example("Example", embedding),
            "## Dead letter\n",
            _headers(EventType.DEAD_LETTER),
            _ORIGINAL_HEADERS,
            "Value if `dlq.payload` is `reference`, JSON in UTF-8:\n",
            _fields(values[DEAD_LETTER_SCHEMA]),
            _example("Example of a reference", dead_reference),
            _example("Example of a record that could not be parsed", dead_record),
            _example("The same, had it not fitted the topic", shrunk),
            f"## Version 2: images on web servers\n\n{_VERSION_2}",
            f"Type `{EventType.CLASSIFICATION_V2}`, value, JSON in UTF-8:\n",
            _fields(values[CLASSIFICATION_SCHEMA_V2]),
            _example("Example", classification_2),
            f"Type `{EventType.EMBEDDING_V2}`, with a value as of version 1.\n",
            _example("Example", embedding_2),
            f"Type `{EventType.DEAD_LETTER_V2}`, value of a `reference`, JSON in UTF-8:\n",
            _fields(values[DEAD_LETTER_SCHEMA_V2]),
            _example("Example of a reference", dead_url),
            "## Replay\n",
            _REPLAY,
            _headers(EventType.REPLAY),
            *_served(values),
            *_backfill(values),
            *_label_set(values),
        )
    )


def _served(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about images that came over HTTP."""
    events = ServedEvents(EventsPolicy(), "0.1.0")
    sent, outcome = _sent(), _classified()
    image, embedding = events.looked_at(sent, outcome.looked, outcome.results)
    yield "## Served image\n"
    yield _SERVED
    yield _headers(EventType.SERVED_IMAGE)
    yield "Value, JSON in UTF-8:\n"
    yield _fields(values[SERVED_IMAGE_SCHEMA])
    yield _example("Example", image)
    yield "## Served embedding\n"
    yield _headers(EventType.SERVED_EMBEDDING)
    yield "Value: the elements, little-endian, nothing else.\n"
    yield _example("Example", embedding)
    yield "## Served error\n"
    yield _headers(EventType.SERVED_ERROR)
    yield "Value, JSON in UTF-8:\n"
    yield _fields(values[SERVED_ERROR_SCHEMA])
    yield _example("Example", events.failed(sent, "decode.truncated"))


def _backfill(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about rows of a backfill."""
    events, outcome = BackfillEvents(EventsPolicy(), "0.1.0"), _classified()
    content = content_id(outcome.looked, outcome.ref.uri, outcome.etag, outcome.version_id)
    row = BackfilledRow("6b1f7c9e-2f0a-4d0c-9a54-0d6b8f1f6f0a", 12, 3071, content)
    classification, embedding = events.records(row, outcome)
    (letter,) = events.records(row, _unfetched())
    yield "## Backfill classification\n"
    yield _BACKFILL
    yield _headers(EventType.BACKFILL_CLASSIFICATION)
    yield "Value, JSON in UTF-8:\n"
    yield _fields(values[BACKFILL_CLASSIFICATION_SCHEMA])
    yield _example("Example", classification)
    yield "## Backfill embedding\n"
    yield _headers(EventType.BACKFILL_EMBEDDING)
    yield "Value: the elements, little-endian, nothing else.\n"
    yield _example("Example", embedding)
    yield "## Backfill dead letter\n"
    yield _headers(EventType.BACKFILL_DEAD_LETTER)
    yield "Value if `dlq.payload` is `reference`, JSON in UTF-8:\n"
    yield _fields(values[BACKFILL_DEAD_LETTER_SCHEMA])
    yield _example("Example", letter)


def _label_set(values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The part about recorded label sets."""
    yield "## Label set\n"
    yield _LABEL_SET
    yield _headers(EventType.LABEL_SET)
    yield "Value, JSON in UTF-8:\n"
    yield _fields(values[LABEL_SET_SCHEMA])
    yield _example("Example", label_set.example(_classified().looked.model))


def _headers(event_type: EventType) -> str:
    rows = [
        (f"`{header.name}`", "always" if header.required else "optional", header.meaning)
        for header in HEADERS[event_type]
    ]
    return f"Type `{event_type}`.\n\n{table(('Header', 'Present', 'Meaning'), rows)}"


def _fields(schema: Mapping[str, Any]) -> str:
    return table(("Field", "Type", "Meaning"), _rows(schema, schema.get("$defs", {}), ""))


def _rows(node: Mapping[str, Any], defs: Mapping[str, Any], prefix: str) -> Iterator[Row]:
    """One row a field, depth first, in the order of the code."""
    for name, field in node.get("properties", {}).items():
        path = prefix + name
        target, kind = _resolved(field, defs)
        if name not in node.get("required", ()):
            kind += ", optional"
        meaning = field.get("description", target.get("description", ""))
        yield f"`{path}`", kind, meaning
        if "items" in target:
            item, _ = _resolved(target["items"], defs)
            yield from _rows(item, defs, f"{path}[].")
        else:
            yield from _rows(target, defs, f"{path}.")


def _resolved(field: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """A field's own schema and its type in words."""
    if "$ref" in field:
        return _resolved(defs[field["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in field:
        return field, " or ".join(_resolved(option, defs)[1] for option in field["anyOf"])
    if "items" in field:
        return field, f"list of {_resolved(field['items'], defs)[1]}s"
    return field, str(field["type"])


def _example(title: str, record: OutputRecord | EventRecord) -> str:
    lines = [f"key: {_text(record.key or b'')}"]
    lines += [f"{name}: {_text(value)}".rstrip() for name, value in record.headers]
    headers = dict(record.headers)
    if headers.get("content-type") == b"application/json":
        lines += ["", json.dumps(json.loads(record.value), indent=2, ensure_ascii=False)]
    elif "embedding.dtype" in headers:
        shown = record.value[:SHOWN_BYTES].hex(" ")
        lines += ["", f"{shown} … ({len(record.value):,} bytes)"]
    elif record.value:
        lines += ["", _text(record.value)]
    body = "\n".join(lines)
    return f"{title}:\n\n```text\n{body}\n```\n"


def _text(value: bytes) -> str:
    """The examples' own keys, headers and raw values are all text."""
    return value.decode()


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
