"""The major versions of the events: which one a reference has, its types, and its JSON values.

Version 1 is frozen and says bucket and key, so it is about objects in S3's buckets. Version 2 is
about images that only a URI names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.events.envelope import TextHeaders, text, timestamp
from pipeline.events.parts import (
    image_value,
    matches_value,
    model_value,
    object_value,
    position_value,
    result_value,
    views_value,
)
from pipeline.events.schemas import (
    CLASSIFICATION_SCHEMA,
    CLASSIFICATION_SCHEMA_V2,
    DEAD_LETTER_SCHEMA,
    DEAD_LETTER_SCHEMA_V2,
    schema_id,
)
from pipeline.events.types import EventType
from pipeline.events.values.dead_references import (
    AskedValue,
    DeadReferenceValue,
    DeadReferenceValueV2,
)
from pipeline.events.values.outcomes import (
    ClassificationValue,
    ClassificationValueV2,
    ReferenceValue,
    ReferenceValueV2,
)
from pipeline.records import Classification, ImageRef, Origin
from pipeline.records.known import KnownMatch


@dataclass(frozen=True, slots=True)
class Family:
    """The types of one major version, and the content headers of their JSON values."""

    classification: EventType
    embedding: EventType
    dead_letter: EventType
    classification_content: TextHeaders
    dead_letter_content: TextHeaders


def _content(schema: str) -> TextHeaders:
    return (
        ("content-type", b"application/json"),
        ("ce_dataschema", text(schema_id(schema))),
    )


_OF_BUCKETS = Family(
    EventType.CLASSIFICATION,
    EventType.EMBEDDING,
    EventType.DEAD_LETTER,
    _content(CLASSIFICATION_SCHEMA),
    _content(DEAD_LETTER_SCHEMA),
)
_OF_URIS = Family(
    EventType.CLASSIFICATION_V2,
    EventType.EMBEDDING_V2,
    EventType.DEAD_LETTER_V2,
    _content(CLASSIFICATION_SCHEMA_V2),
    _content(DEAD_LETTER_SCHEMA_V2),
)


def family_of(ref: ImageRef | None) -> Family:
    """The version of a reference's events. Without a reference it is version 1."""
    return _OF_BUCKETS if ref is None or ref.scheme == "s3" else _OF_URIS


def dead_reference_value(
    ref: ImageRef, matches: Sequence[KnownMatch] = ()
) -> DeadReferenceValue | DeadReferenceValueV2:
    """``matches`` are the lists of known pictures that have the file."""
    value: DeadReferenceValue | DeadReferenceValueV2
    if family_of(ref) is _OF_BUCKETS:
        value = {"bucket": ref.bucket, "key": ref.key, "label_sets": list(ref.label_sets)}
        if ref.version_id is not None:
            value["version_id"] = ref.version_id
    else:
        value = {"uri": ref.uri, "label_sets": list(ref.label_sets)}
        if ref.query is not None:
            value["query"] = ref.query
    if ref.etag is not None:
        value["etag"] = ref.etag
    if ref.id is not None:
        value["id"] = ref.id
    if ref.tenant is not None:
        value["tenant"] = ref.tenant
    if ref.metadata:
        value["metadata"] = dict(ref.metadata)
    if ref.asked is not None:
        asked: AskedValue = {"label_sets": list(ref.asked.label_sets)}
        if ref.asked.tenant is not None:
            asked["tenant"] = ref.asked.tenant
        value["asked"] = asked
    if matches:
        value["matches"] = matches_value(matches)
    return value


def reference_value(ref: ImageRef) -> ReferenceValue:
    return {
        "uri": ref.uri,
        "bucket": ref.bucket,
        "key": ref.key,
        "version_id": ref.version_id,
        "etag": ref.etag,
        "id": ref.id,
        "tenant": ref.tenant,
        "metadata": dict(ref.metadata),
    }


def _reference_value_v2(ref: ImageRef) -> ReferenceValueV2:
    value: ReferenceValueV2 = {
        "uri": ref.uri,
        "id": ref.id,
        "tenant": ref.tenant,
        "metadata": dict(ref.metadata),
    }
    if ref.etag is not None:
        value["etag"] = ref.etag
    return value


def classification_value(
    origin: Origin, outcome: Classification, version: str, content: str, *, embeddings: bool
) -> ClassificationValue | ClassificationValueV2:
    """``content`` is the ``content_id``. ``embeddings`` says whether embeddings are published."""
    ref, looked = outcome.ref, outcome.looked
    value: ClassificationValue = {
        "reference": reference_value(ref),
        "object": object_value(looked, outcome.etag, outcome.version_id),
        "image": image_value(looked.image),
        "model": model_value(looked.model),
        "results": [result_value(result) for result in outcome.results],
        "decode_mode": looked.decode_mode,
        "decode_crop": looked.decode_crop,
        "position": position_value(origin),
        "record_timestamp": timestamp(origin.timestamp_ms),
        "clipstream_version": version,
        "content_id": content,
    }
    if looked.views is not None:
        value["views"] = views_value(looked.views, embeddings=embeddings)
    if outcome.matches:
        value["matches"] = matches_value(outcome.matches)
    if family_of(ref) is _OF_BUCKETS:
        return value
    return cast("ClassificationValueV2", {**value, "reference": _reference_value_v2(ref)})
