"""Parts that events of several types have in common: of values, of headers, and their encoding."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import PydanticSerializationError, to_json

from pipeline.errors import Code
from pipeline.events.envelope import TextHeaders, bounded_text, optional, text
from pipeline.events.schemas import schema_id
from pipeline.events.types import Payload
from pipeline.events.values.outcomes import (
    ImageValue,
    MatchValue,
    ModelValue,
    ObjectValue,
    PositionValue,
    ResultValue,
    ScoreValue,
    ViewValue,
)
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    OutputRecord,
)
from pipeline.records.known import KnownMatch
from pipeline.records.views import LookedViews

MAX_MESSAGE_BYTES = 1024
"""Limit of a dead letter's message in UTF-8."""

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_content(schema: str) -> TextHeaders:
    """The headers of a value in JSON. ``schema`` is the name of its schema."""
    return (
        ("content-type", b"application/json"),
        ("ce_dataschema", text(schema_id(schema))),
    )


def object_value(looked: Looked, etag: str | None, version_id: str | None) -> ObjectValue:
    """The bytes that were looked at."""
    return {
        "etag": etag,
        "version_id": version_id,
        "sha256": looked.sha256,
        "size_bytes": looked.size_bytes,
    }


def image_value(image: ImageFacts) -> ImageValue:
    """What the decoder found."""
    value: ImageValue = {
        "format": image.format,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "cropped_share": image.cropped_share,
    }
    if image.frames_seen > 1:
        value["frames_seen"] = image.frames_seen
    return value


def views_value(views: LookedViews, *, embeddings: bool) -> list[ViewValue]:
    """The parts of the image that the model saw, with their embeddings or without."""
    values: list[ViewValue] = []
    for place, embedding in zip(views.places, views.embeddings, strict=True):
        value: ViewValue = {
            "kind": place.kind,
            "frame": place.frame,
            "left": place.left,
            "top": place.top,
            "right": place.right,
            "bottom": place.bottom,
        }
        if embeddings:
            value["embedding"] = base64.b64encode(as_bytes(embedding)).decode()
        values.append(value)
    return values


def model_value(model: ModelIdentity) -> ModelValue:
    """What made the embedding."""
    return {
        "name": model.name,
        "revision": model.revision,
        "dimension": model.dimension,
        "logit_scale": model.logit_scale,
        "precision": model.precision,
        "engine": model.engine,
    }


def _score_value(score: LabelScore) -> ScoreValue:
    value: ScoreValue = {
        "label": score.label,
        "score": score.score,
        "similarity": score.similarity,
    }
    if score.view is not None:
        value["view"] = score.view
    if score.probability is not None:
        value["probability"] = score.probability
    return value


def result_value(result: LabelSetResult) -> ResultValue:
    """What one label set says."""
    value: ResultValue = {
        "label_set": result.label_set,
        "version": result.version,
        "decision": result.decision,
        "matched": list(result.matched),
        "scores": [_score_value(score) for score in result.scores],
    }
    if result.labels_decision is not None:
        value["raised"] = list(result.raised)
        value["labels_decision"] = result.labels_decision
    if result.shadow:
        value["shadow"] = True
    return value


def matches_value(matches: Sequence[KnownMatch]) -> list[MatchValue]:
    """The lists of known pictures that have an image."""
    values: list[MatchValue] = []
    for match in matches:
        value: MatchValue = {
            "list": match.known_list,
            "version": match.version,
            "kind": match.kind,
            "action": match.action,
            "entry": match.entry,
        }
        if match.distance is not None:
            value["distance"] = match.distance
        if match.cosine is not None:
            value["cosine"] = match.cosine
        values.append(value)
    return values


def position_value(origin: Origin) -> PositionValue:
    return {
        "topic": origin.position.partition.topic,
        "partition": origin.position.partition.number,
        "offset": origin.position.offset,
        "index": origin.index,
    }


@lru_cache(maxsize=16)  # a worker has one model and one mode
def embedding_headers(
    model: ModelIdentity,
    dtype: np.dtype[Any],
    dimension: int,
    decode_mode: str,
    decode_crop: str,
) -> TextHeaders:
    """The headers that all embeddings of one worker share."""
    return (
        ("embedding.dtype", text(dtype.name)),
        ("embedding.dimension", b"%d" % dimension),
        ("embedding.normalised", b"true"),
        ("model.name", text(model.name)),
        ("model.revision", text(model.revision)),
        ("model.precision", text(model.precision)),
        ("model.engine", text(model.engine)),
        ("decode.mode", text(decode_mode)),
        ("decode.crop", text(decode_crop)),
    )


def vector_headers(
    outcome: Classification, classification_id: str, version: str, content: str
) -> TextHeaders:
    """The headers of an embedding but for its CloudEvents attributes. ``version`` is Clipstream's,
    ``content`` the content id."""
    looked = outcome.looked
    vector = looked.embedding
    return (
        ("content-type", b"application/octet-stream"),
        ("classification.id", text(classification_id)),
        *embedding_headers(
            looked.model, vector.dtype, vector.size, looked.decode_mode, looked.decode_crop
        ),
        ("object.sha256", text(looked.sha256)),
        ("object.uri", text(outcome.ref.uri)),
        *optional("object.etag", outcome.etag),
        *optional("object.version-id", outcome.version_id),
        *optional("tenant", outcome.ref.tenant),
        ("clipstream.version", text(version)),
        ("content.id", text(content)),
    )


def failure_headers(letter: DeadLetter) -> TextHeaders:
    """What a dead letter says of the failure."""
    return (
        ("dlq.code", text(letter.code)),
        ("dlq.stage", text(Code.stage(letter.code))),
        ("dlq.message", bounded_text(letter.message, MAX_MESSAGE_BYTES)),
        *optional("dlq.format", letter.format),
        ("dlq.attempts", b"%d" % letter.attempts),
    )


def omitted_headers(full: OutputRecord) -> TextHeaders:
    """What a dead letter says of its payload that did not fit. ``full`` is the dead letter with
    it."""
    return (
        ("dlq.payload", text(Payload.OMITTED)),
        ("dlq.full-bytes", b"%d" % full.size_bytes),
        ("dlq.value-bytes", b"%d" % len(full.value)),
        ("dlq.value-sha256", text(hashlib.sha256(full.value).hexdigest())),
    )


def as_bytes(vector: npt.NDArray[Any]) -> bytes:
    """The elements of an embedding, little-endian."""
    return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()


def as_json(value: Mapping[str, Any] | list[int]) -> bytes:
    """Compact JSON in UTF-8. pydantic's encoder takes a fifth of the time of Python's own.

    Raises:
        ValueError: a number is not finite.
    """
    try:
        encoded = to_json(value)
    except PydanticSerializationError:  # it refuses lone surrogates
        return _exact_json(value)
    # pydantic's encoder writes NaN and Infinity. If it may have done so, Python's encoder decides.
    suspicious = b"NaN" in encoded or b"Infinity" in encoded
    return _exact_json(value) if suspicious else encoded


def _exact_json(value: Mapping[str, Any] | list[int]) -> bytes:
    # UTF-8 cannot hold a lone surrogate. It can only be inside a JSON string, where the escape that
    # `backslashreplace` writes for it (\udXXX) is JSON's own escape.
    return _encoder.encode(value).encode(errors="backslashreplace")
