"""Parts that events of several types have in common: of values, of headers, and their encoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import PydanticSerializationError, to_json

from pipeline.events.envelope import TextHeaders, text
from pipeline.events.values import ImageValue, ModelValue, ObjectValue, ResultValue
from pipeline.records import ImageFacts, LabelSetResult, Looked, ModelIdentity

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


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
    return {
        "format": image.format,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "cropped_share": image.cropped_share,
    }


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


def result_value(result: LabelSetResult) -> ResultValue:
    """What one label set says."""
    return {
        "label_set": result.label_set,
        "version": result.version,
        "decision": result.decision,
        "matched": list(result.matched),
        "scores": [
            {"label": score.label, "score": score.score, "similarity": score.similarity}
            for score in result.scores
        ],
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
