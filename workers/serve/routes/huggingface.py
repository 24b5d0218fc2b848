"""Three routes for Hugging Face's ``InferenceClient``, whose ``model`` is the route's address.

Errors under ``/hf/`` have the shape that this client reads: ``workers.serve.errors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from pipeline.labels.label_set import Decision
from pipeline.labels.scoring import CompiledLabelSet
from pipeline.records import JsonValue, LabelSetResult
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Given, Inline
from workers.serve.label_sets import named_label_sets, own_label_set
from workers.serve.looking import look_at, scores_of
from workers.serve.openapi import PIXEL, errors
from workers.serve.publishing.records import Answered
from workers.serve.reading.bodies import json_body, read_json
from workers.serve.reading.inputs import read_items
from workers.serve.reading.sources import given_of
from workers.serve.routes.embeddings import embedded
from workers.serve.services import Services

PREFIX = "/hf"
ZERO_SHOT_PATH = f"{PREFIX}/zero-shot-image-classification"
CLASSIFICATION_PATH = f"{PREFIX}/image-classification"
FEATURES_PATH = f"{PREFIX}/feature-extraction"

TEMPLATE = "This is a photo of {}."
"""That of transformers' pipeline, which answers for clients that send none."""
TOP_K = 5


class ZeroShotParameters(BaseModel):
    candidate_labels: list[str] = Field(min_length=2)
    hypothesis_template: str | None = Field(
        None, description=f"The prompt of a label, with {{}} for the label. Left out: {TEMPLATE}"
    )


class ZeroShotRequest(BaseModel):
    """An image and labels."""

    inputs: str = Field(description="The image: base64, a data URI, or an address.")
    parameters: ZeroShotParameters


class ClassificationParameters(BaseModel):
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        None,
        description="`none`: scores are similarities. Otherwise the label set decides: `softmax` "
        "for an exclusive set, `sigmoid` for an independent one.",
    )
    top_k: int | None = Field(None, description=f"Most labels. Left out: {TOP_K}.", gt=0)


class ClassificationRequest(BaseModel):
    """An image, for the default label set. The image's bytes may be the whole body."""

    inputs: str = Field(description="The image: base64, a data URI, or an address.")
    parameters: ClassificationParameters = ClassificationParameters(
        function_to_apply=None, top_k=None
    )


class FeaturesRequest(BaseModel):
    """Texts, or images as addresses, to embed."""

    inputs: Any = Field(description="A text or a list of texts.")
    normalize: bool | None = Field(None, description="Embeddings always are of unit length.")
    dimensions: int | None = Field(None, description="No other than the model's own.")


class LabelFound(TypedDict):
    """``similarity`` is the cosine between image and label."""

    label: str
    score: float
    similarity: float


class ErrorFound(TypedDict):
    """``error`` says what is wrong and what to do; so does the header ``x-error-message``."""

    error: str
    code: str
    request_id: str


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**described, "model": ErrorFound}
    for status, described in errors(400, 401, 403, 413, 415, 429, 500, 503).items()
}

ZERO_SHOT: Mapping[str, JsonValue] = {
    "two labels": {
        "inputs": PIXEL,
        "parameters": {"candidate_labels": ["cat", "dog"]},
    }
}
CLASSIFICATION: Mapping[str, JsonValue] = {
    "the best label": {"inputs": PIXEL, "parameters": {"top_k": 1}}
}
FEATURES: Mapping[str, JsonValue] = {"texts": {"inputs": ["a cat", "a dog"]}}


def huggingface(services: Services) -> APIRouter:
    router = APIRouter(prefix=PREFIX, tags=["Hugging Face"])

    @router.post(
        ZERO_SHOT_PATH.removeprefix(PREFIX),
        summary="Score an image for labels of the request",
        openapi_extra=json_body(ZeroShotRequest, ZERO_SHOT),
        responses={200: {"model": list[LabelFound]}, **ERRORS},
    )
    async def zero_shot(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        asked = await read_json(request, ZeroShotRequest)
        template = asked.parameters.hypothesis_template or TEMPLATE
        labels = await services.prompts.compiled(
            own_label_set(asked.parameters.candidate_labels, {"templates": [template]}),
            "parameters",
        )
        image = given_of(asked.inputs, "inputs")
        result = await _scored(services, image, labels, admitted, ZERO_SHOT_PATH, own_labels=True)
        return JSONResponse(found(result))

    @router.post(
        CLASSIFICATION_PATH.removeprefix(PREFIX),
        summary="Score an image with the default label set",
        openapi_extra=_with_raw_body(json_body(ClassificationRequest, CLASSIFICATION)),
        responses={200: {"model": list[LabelFound]}, **ERRORS},
    )
    async def image_classification(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        parameters = ClassificationParameters(function_to_apply=None, top_k=None)
        image: Given
        if request.headers.get("content-type", "").startswith("application/json"):
            asked = await read_json(request, ClassificationRequest)
            parameters, image = asked.parameters, given_of(asked.inputs, "inputs")
        else:
            image = Inline(await request.body())
        default = services.settings.serve.default_label_set
        (label_set,) = named_label_sets([], services.rules(), admitted.caller, default)
        function = parameters.function_to_apply
        _check_function(label_set, function)
        labels = found(await _scored(services, image, label_set, admitted, CLASSIFICATION_PATH))
        if function == "none":
            for each in labels:
                each["score"] = each["similarity"]
            labels.sort(key=lambda each: each["score"], reverse=True)
        return JSONResponse(labels[: parameters.top_k or TOP_K])

    @router.post(
        FEATURES_PATH.removeprefix(PREFIX),
        summary="Embed texts",
        openapi_extra=json_body(FeaturesRequest, FEATURES),
        responses={200: {"model": list[list[float]]}, **ERRORS},
    )
    async def feature_extraction(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        asked = await read_json(request, FeaturesRequest)
        if asked.normalize is False or asked.dimensions not in (None, services.model.dimension):
            raise ApiError(
                400,
                "invalid_request",
                f"embeddings have {services.model.dimension} dimensions and unit length; leave "
                "normalize and dimensions out",
            )
        vectors = await embedded(
            services, read_items(asked.inputs, "inputs"), admitted, FEATURES_PATH
        )
        features = []
        for each in vectors:
            if isinstance(each, ApiError):
                raise each
            features.append([float(value) for value in each])
        return JSONResponse(features)

    return router


def found(result: LabelSetResult) -> list[LabelFound]:
    """All labels, the highest score first."""
    labels = [
        LabelFound(label=each.label, score=each.score, similarity=each.similarity)
        for each in result.scores
    ]
    return sorted(labels, key=lambda each: each["score"], reverse=True)


async def _scored(
    services: Services,
    image: Given,
    label_set: CompiledLabelSet,
    admitted: Admitted,
    route: str,
    *,
    own_labels: bool = False,
) -> LabelSetResult:
    """What the label set says of the one image. What became of it is published, as of ``route``."""
    (seen,) = await look_at(services, [("inputs", image)], admitted)
    if isinstance(seen, ApiError):
        await services.records.publish(admitted, route, {0: Answered(image, seen)})
        raise seen
    (result,) = scores_of(seen, [label_set], services)
    answered = {0: Answered(image, seen, (result,))}
    await services.records.publish(admitted, route, answered, own_labels=own_labels)
    return result


def _check_function(compiled: CompiledLabelSet, function: str | None) -> None:
    own = "softmax" if compiled.label_set.decision is Decision.EXCLUSIVE else "sigmoid"
    if function not in (None, "none", own):
        raise ApiError(
            400,
            "invalid_request",
            f"function_to_apply is {function!r}, and the label set "
            f"{compiled.label_set.name!r} was made for {own!r}; leave it out",
            param="parameters.function_to_apply",
        )


def _with_raw_body(extra: dict[str, Any]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    extra["requestBody"]["content"] |= {"application/octet-stream": binary, "image/*": binary}
    return extra
