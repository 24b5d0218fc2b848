"""What is answered for the images of a request."""

from __future__ import annotations

import base64
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

from pipeline.content import content_id
from pipeline.events import parts
from pipeline.events.values.outcomes import (
    ContentId,
    Count,
    ImageValue,
    ModelValue,
    ResultValue,
    Sha256,
    ViewValue,
)
from pipeline.records import LabelSetResult, ModelIdentity
from workers.serve.images import Seen

_described = with_config(ConfigDict(use_attribute_docstrings=True))


@_described
class AnsweredModel(ModelValue):
    """The model that looked at the images."""

    embedding_dtype: str
    """Element type of embeddings: `float32` or `float16`."""


@_described
class AnsweredFile(ImageValue):
    """What was seen."""

    size_bytes: Count
    """Number of the file's bytes."""


@_described
class AnsweredProblem(TypedDict):
    """Why an image could not be looked at."""

    code: str
    """Stable code: those of dead letters, or `invalid_image`."""
    message: str
    """What is wrong, for people."""


@_described
class AnsweredImage(TypedDict):
    """One image: what was seen and how it scored, or `error`."""

    index: Count
    """Place of the image in the request, from 0."""
    id: NotRequired[str]
    """The caller's name of the image, if there is one."""
    sha256: NotRequired[Sha256]
    """SHA-256 of the file's bytes, in lower-case hexadecimal."""
    results: NotRequired[list[ResultValue]]
    """The result of each label set, in the order of the request."""
    image: NotRequired[AnsweredFile]
    """What was seen."""
    views: NotRequired[list[ViewValue]]
    """The parts of the image that the model saw, if there are several (`decode.views: all`). Each
    has its embedding if embeddings were asked for."""
    etag: NotRequired[str]
    """ETag of the object that was read, without quotes. Absent for bytes of the request."""
    version_id: NotRequired[str]
    """Version of the object that was read, where its bucket has versions."""
    embedding: NotRequired[list[float] | str]
    """The embedding, if it was asked for: unit length, as published in events."""
    content_id: NotRequired[ContentId]
    """Identity of the image as this model sees it, the same in the stream, over HTTP and in
    backfills."""
    error: NotRequired[AnsweredProblem]
    """Why the image could not be looked at. All other fields but `index` and `id` are absent."""


@_described
class AnsweredUsage(TypedDict):
    """What the request used."""

    images: Count
    """Images that were looked at."""
    image_bytes: Count
    """Bytes of these images' files."""


@_described
class Answer(TypedDict):
    """The answer to a request to classify images."""

    request_id: str
    """The request's id, as in the header `x-request-id` and in the server's log."""
    created: Annotated[int, Field(ge=0)]
    """Unix time of the answer, in seconds."""
    model: AnsweredModel
    """The model that looked at the images."""
    images: list[AnsweredImage]
    """The images in the order of the request."""
    usage: AnsweredUsage
    """What the request used."""


def model_value(model: ModelIdentity, embedding_dtype: str) -> AnsweredModel:
    return {**parts.model_value(model), "embedding_dtype": embedding_dtype}


def image_value(
    seen: Seen, results: tuple[LabelSetResult, ...], embedding: bool | str, uri: str | None
) -> dict[str, Any]:
    """All of an answered image but its index and id. ``uri`` is None for bytes of the request."""
    looked = seen.looked
    value: dict[str, Any] = {
        "sha256": looked.sha256,
        "results": [parts.result_value(result) for result in results],
        "image": {**parts.image_value(looked.image), "size_bytes": looked.size_bytes},
    }
    if looked.views is not None:
        value["views"] = parts.views_value(looked.views, embeddings=bool(embedding))
    if seen.etag is not None:
        value["etag"] = seen.etag
    if seen.version_id is not None:
        value["version_id"] = seen.version_id
    if embedding == "base64":
        value["embedding"] = base64.b64encode(looked.embedding.tobytes()).decode()
    elif embedding:
        value["embedding"] = looked.embedding.tolist()
    value["content_id"] = content_id(looked, uri, seen.etag, seen.version_id)
    return value
