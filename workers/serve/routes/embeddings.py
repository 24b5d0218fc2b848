"""``POST /v1/embeddings``: texts and images, as seven kinds of clients write them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired

import numpy as np
import pybase64
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from pipeline.records import JsonValue, Vector
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Seen
from workers.serve.looking import look_at
from workers.serve.openapi import PIXEL, errors
from workers.serve.publishing.records import Answered
from workers.serve.reading.bodies import json_body, read_json
from workers.serve.reading.inputs import Item, Modality, Text, read_items, read_messages, texts_of
from workers.serve.routes.models import is_served
from workers.serve.services import Services

PATH = "/v1/embeddings"


class EmbeddingsRequest(BaseModel):
    """What is embedded, in exactly one of ``input``, ``inputs`` and ``messages``."""

    input: Any = Field(
        None,
        description="A text or an image, or a list of them. An image is a data URI, an s3:// or "
        'https:// address, `{"image": address or base64}`, or a part such as '
        '`{"type": "image_url", "image_url": {"url": …}}`.',
    )
    inputs: Any = Field(None, description='As `input`, for clients of Voyage: `{"content": […]}`.')
    messages: Any = Field(
        None, description="A conversation with one part, or a list of conversations, as of vLLM."
    )
    model: str | None = Field(None, description="The model's id. Left out: the model.")
    modality: Modality | None = Field(
        None,
        description="What plain texts are. Left out: an address of an image is an image, any "
        "other text is a text.",
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`base64`: little-endian float32. Left out: `float`."
    )
    dimensions: int | None = Field(None, description="No other than the model's own.")
    on_error: Literal["fail", "omit"] | None = Field(
        None,
        description="What an item that cannot be embedded does. `omit`: it is left out of `data` "
        "and is listed in `errors`; `index` stays the place in the input. Left out: the request "
        "fails.",
    )


class Embedding(TypedDict):
    object: str
    index: int
    embedding: list[float] | str


class EmbeddingError(TypedDict):
    """Why the item at ``index`` has no embedding."""

    index: int
    param: str
    code: str
    message: str


class EmbeddingsUsage(TypedDict):
    """What was looked at. Only texts have tokens."""

    prompt_tokens: int
    total_tokens: int
    images: int
    image_bytes: int


class EmbeddingsAnswer(TypedDict):
    object: str
    model: str
    revision: str
    precision: str
    data: list[Embedding]
    errors: NotRequired[list[EmbeddingError]]
    usage: EmbeddingsUsage


ERRORS = errors(400, 401, 403, 404, 413, 415, 429, 500, 503)

EXAMPLES: Mapping[str, JsonValue] = {
    "texts": {"input": ["a photo of a cat", "a photo of a dog"]},
    "an image": {"input": [{"image": PIXEL}]},
    "a bad image is left out": {
        "input": [{"image": PIXEL}, {"image": "aXQgaXMgbm8gaW1hZ2U="}],
        "on_error": "omit",
    },
}


def embeddings(services: Services) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])
    model = services.model

    @router.post(
        PATH,
        summary="Embed texts and images",
        openapi_extra=json_body(EmbeddingsRequest, EXAMPLES),
        responses={200: {"model": EmbeddingsAnswer}, **ERRORS},
    )
    async def embed(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        asked = await read_json(request, EmbeddingsRequest)
        _check_model(asked, services)
        items = _items(asked)
        vectors = await embedded(services, items, admitted, PATH)
        wrong = [each for each in vectors if isinstance(each, ApiError)]
        # Clients take an answer without data for a broken server.
        if wrong and (asked.on_error != "omit" or len(wrong) == len(vectors)):
            raise wrong[0]
        # A text that was left out is not paid for.
        tokens = await services.prompts.tokens(
            [
                item.content.text
                for item, vector in zip(items, vectors, strict=True)
                if isinstance(item.content, Text) and not isinstance(vector, ApiError)
            ]
        )
        answer: EmbeddingsAnswer = {
            "object": "list",
            "model": model.name,
            "revision": model.revision,
            "precision": model.precision,
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _written(each, asked.encoding_format or "float"),
                }
                for index, each in enumerate(vectors)
                if not isinstance(each, ApiError)
            ],
            "usage": {
                "prompt_tokens": tokens,
                "total_tokens": tokens,
                "images": admitted.images,
                "image_bytes": admitted.image_bytes,
            },
        }
        if asked.on_error == "omit":
            answer["errors"] = [
                {
                    "index": index,
                    "param": items[index].param,
                    "code": each.code,
                    "message": each.message,
                }
                for index, each in enumerate(vectors)
                if isinstance(each, ApiError)
            ]
        return JSONResponse(answer)

    return router


async def embedded(
    services: Services, items: Sequence[Item], admitted: Admitted, route: str
) -> list[Vector | ApiError]:
    """The embedding of each item, float32 [dimension] of unit length, or why it has none. An
    image's values are those that the stream publishes for it. What became of images is published,
    as of ``route``.

    Raises:
        ApiError: 400: there are too many items; 429: there is no room for them.
        Overloaded, Halt, WorkerLost: as ``Images.seen_all``.
    """
    texts = [each for each in items if isinstance(each.content, Text)]
    images = [
        (each.param, each.content)
        for each in items
        if not isinstance(each.content, Text | ApiError)
    ]
    of_texts = iter(await _texts(services, texts))
    of_images = iter(await look_at(services, images, admitted) if images else ())
    vectors: list[Vector | ApiError] = []
    answered: dict[int, Answered] = {}
    for index, item in enumerate(items):
        match item.content:
            case ApiError() as wrong:
                vectors.append(wrong)
            case Text():
                vectors.append(next(of_texts))
            case image:
                seen = next(of_images)
                answered[index] = Answered(image, seen)
                vectors.append(
                    seen.looked.embedding.astype(np.float32) if isinstance(seen, Seen) else seen
                )
    await services.records.publish(admitted, route, answered)
    return vectors


async def _texts(services: Services, items: Sequence[Item]) -> list[Vector | ApiError]:
    if not items:
        return []
    try:
        return [*await services.prompts.embed(texts_of(items), items[0].param)]
    except ApiError as wrong:
        if wrong.code != "prompt_too_long":
            raise
    return await asyncio.gather(*(_text(services, item) for item in items))


async def _text(services: Services, item: Item) -> Vector | ApiError:
    try:
        vectors = await services.prompts.embed(texts_of([item]), item.param)
    except ApiError as wrong:
        if wrong.status != 400:
            raise
        return wrong
    first: Vector = vectors[0]
    return first


def _items(asked: EmbeddingsRequest) -> tuple[Item, ...]:
    given = [key for key in ("input", "inputs", "messages") if getattr(asked, key) is not None]
    if len(given) != 1:
        raise ApiError(
            400,
            "invalid_request",
            f"the body has {' and '.join(given) or 'nothing to embed'}; write input",
            param="input",
        )
    if asked.messages is not None:
        return read_messages(asked.messages)
    return read_items(getattr(asked, given[0]), given[0], asked.modality)


def _check_model(asked: EmbeddingsRequest, services: Services) -> None:
    model = services.model
    if asked.model is not None and not is_served(services, asked.model):
        raise ApiError(
            404,
            "model_not_found",
            f"no model {asked.model!r} makes embeddings here; write {model.name!r}",
            param="model",
        )
    if asked.dimensions not in (None, model.dimension):
        raise ApiError(
            400,
            "invalid_dimensions",
            f"dimensions is {asked.dimensions}, and the model has {model.dimension}; leave it out",
            param="dimensions",
        )


def _written(vector: Vector, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return pybase64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
