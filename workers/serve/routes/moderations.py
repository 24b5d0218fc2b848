"""``POST /v1/moderations``, as OpenAI's clients call it. Images alone are moderated.

There is never a false all-clear: a text is refused or, where the caller says so, named as not
looked at; an image that nobody could look at is an error; a category that no label covers is named.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from pipeline.labels.categories import CATEGORIES
from pipeline.labels.scoring import CompiledLabelSet
from pipeline.records import JsonValue, LabelSetResult
from workers.label_sets import ScoringRules
from workers.serve.caller import Admitted, Caller
from workers.serve.errors import ApiError
from workers.serve.images import Given, Seen
from workers.serve.label_sets import named_label_sets
from workers.serve.looking import look_at, scores_of
from workers.serve.openapi import PIXEL, errors
from workers.serve.publishing.records import Answered
from workers.serve.reading.bodies import json_body, read_json
from workers.serve.reading.inputs import Text, read_parts
from workers.serve.services import Services

PATH = "/v1/moderations"

OPENAIS_MODELS = ("omni-moderation-", "text-moderation-")
"""Names with which OpenAI's own examples ask. They mean the default label set."""


class ModerationsRequest(BaseModel):
    """What is looked at, and with which label set."""

    input: Any = Field(
        description="An image (data URI, s3:// or https:// address), a list of images, or a list "
        'of parts: `{"type": "image_url", "image_url": {"url": …}}`. A list of parts is one input '
        "and has one result: the highest score of its images for each category."
    )
    model: str | None = Field(
        None,
        description="The label set. Left out, or one of OpenAI's names: `serve.default_label_set`; "
        "without this setting, the first label set by name that covers a category of OpenAI's.",
    )
    ignore_text: bool = Field(
        False,
        description="Pass over texts beside an image. Otherwise they are refused: texts are not "
        "moderated.",
    )


class ModerationResult(TypedDict):
    """The result of one input. Keys of the three mappings are OpenAI's categories and the names of
    the label set's labels. ``raised`` are the conditions of the label set's ``review_if`` that
    raised the decision; ``flagged`` is then true although no label matches."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    label_set: str
    version: str
    decision: str
    matched: list[str]
    raised: list[str]


class ModerationUsage(TypedDict):
    """What was looked at."""

    images: int
    image_bytes: int


class ModerationsAnswer(TypedDict):
    """``categories_not_covered`` are OpenAI's categories for which the label set has no label:
    ``false`` says nothing there."""

    id: str
    model: str
    results: list[ModerationResult]
    categories_not_covered: list[str]
    usage: ModerationUsage


Images = tuple[tuple[str, Given], ...]
"""The images of one input, with their places in the request."""


ERRORS = errors(400, 401, 403, 404, 413, 415, 429, 500, 503)

EXAMPLES: Mapping[str, JsonValue] = {
    "an image": {"input": PIXEL},
    "images of one post": {
        "model": "moderation",
        "input": [
            {"type": "image_url", "image_url": {"url": PIXEL}},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ],
    },
}


def moderations(services: Services) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])
    default = services.settings.serve.default_label_set

    @router.post(
        PATH,
        summary="Moderate images",
        openapi_extra=json_body(ModerationsRequest, EXAMPLES),
        responses={200: {"model": ModerationsAnswer}, **ERRORS},
    )
    async def moderate(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        asked = await read_json(request, ModerationsRequest)
        label_set = moderating(services.rules(), asked.model, admitted.caller, default)
        inputs = read_inputs(asked.input, asked.ignore_text or admitted.caller.ignore_text)
        images = [image for of_input in inputs for image in of_input]
        outcomes = await look_at(services, images, admitted)
        answered = {
            index: _answered(services, label_set, image, outcome)
            for index, ((_, image), outcome) in enumerate(zip(images, outcomes, strict=True))
        }
        await services.records.publish(admitted, PATH, answered)
        for outcome in outcomes:
            if isinstance(outcome, ApiError):
                raise outcome
        results = (each.results[0] for each in answered.values())
        answer: ModerationsAnswer = {
            "id": f"modr-{uuid.uuid4().hex}",
            "model": label_set.label_set.name,
            "results": [result_of(label_set, [next(results) for _ in images]) for images in inputs],
            "categories_not_covered": not_covered(label_set),
            "usage": {"images": admitted.images, "image_bytes": admitted.image_bytes},
        }
        return JSONResponse(answer)

    return router


def read_inputs(written: JsonValue, ignore_text: bool) -> tuple[Images, ...]:
    """The inputs of a request: one for a text or a list of parts, one for each text of a list.

    Raises:
        ApiError: 400: something is no image, or there is a text.
    """
    if written in ([], "", None):
        raise ApiError(400, "empty_input", "input is empty; write an image", param="input")
    if isinstance(written, list) and all(isinstance(each, str) for each in written):
        return tuple(
            _input(each, f"input[{place}]", ignore_text) for place, each in enumerate(written)
        )
    return (_input(written, "input", ignore_text),)


def _input(written: JsonValue, param: str, ignore_text: bool) -> Images:
    images, texts = [], []
    for part in read_parts(written, param):
        if not isinstance(part.content, Text):
            images.append((part.param, part.content))
        elif part.content.text.strip():
            texts.append(part)
    if not images:
        raise ApiError(
            400,
            "text_not_supported",
            f"{param} has no image, and texts are not moderated here; send an image as "
            "data:image/…;base64,… or as an address, and texts to a service that moderates texts",
            param=param,
        )
    if texts and not ignore_text:
        raise ApiError(
            400,
            "text_not_moderated",
            f"{texts[0].param} is a text beside an image, and texts are not moderated here; leave "
            "the text out, or write ignore_text: true and have it moderated elsewhere",
            param=texts[0].param,
        )
    return tuple(images)


def _answered(
    services: Services, compiled: CompiledLabelSet, image: Given, outcome: Seen | ApiError
) -> Answered:
    if isinstance(outcome, ApiError):
        return Answered(image, outcome)
    return Answered(image, outcome, scores_of(outcome, [compiled], services))


def result_of(compiled: CompiledLabelSet, of_images: Sequence[LabelSetResult]) -> ModerationResult:
    """The result for the images of one input: the highest score for each label. An image that
    nobody saw enough of flags the input: most clients read ``flagged`` alone."""
    label_set = compiled.label_set
    each = [result.scores for result in of_images]
    scores = [max(one.score for one in of_label) for of_label in zip(*each, strict=True)]
    matched, decision = label_set.decide(scores)
    raised = dict.fromkeys(reason for result in of_images for reason in result.raised)
    if raised:
        decision = min(decision, *(one.decision for one in of_images), key=label_set.actions.index)
    result: ModerationResult = {
        "flagged": bool(matched or raised),
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.0),
        "category_applied_input_types": {category: [] for category in CATEGORIES},
        "label_set": label_set.name,
        "version": compiled.version,
        "decision": decision,
        "matched": list(matched),
        "raised": list(raised),
    }
    for label, score in zip(label_set.labels, scores, strict=True):
        if label.neutral:
            continue  # it never matches, and a high score of it means nothing bad
        for key in {label.name, *label.categories}:
            result["categories"][key] = result["categories"].get(key, False) or (
                label.name in matched
            )
            result["category_scores"][key] = max(result["category_scores"].get(key, 0.0), score)
            result["category_applied_input_types"][key] = ["image"]
    return result


def not_covered(compiled: CompiledLabelSet) -> list[str]:
    """OpenAI's categories with which no image can be flagged."""
    covered = {
        category
        for label in compiled.label_set.labels
        if label.act or label.review
        for category in (label.name, *label.categories)
    }
    return [category for category in CATEGORIES if category not in covered]


def _first_covering(rules: ScoringRules, caller: Caller) -> str | None:
    """The first label set by name that covers a category. Another one would flag what nobody
    minds, and pass what somebody does. A shadow set is for nobody to act on."""
    covering = [
        each.label_set.name
        for each in rules.scoring
        if caller.may_use(each.label_set.name)
        and not each.label_set.shadow
        and len(not_covered(each)) < len(CATEGORIES)
    ]
    return min(covering, default=None)


def moderating(
    rules: ScoringRules, name: str | None, caller: Caller, default: str | None
) -> CompiledLabelSet:
    """The label set that a request asks for by ``name``, or by none. ``default`` is the setting.

    Raises:
        ApiError: there is no such label set for the caller, or it moderates nothing.
    """
    names = [] if not name or name.startswith(OPENAIS_MODELS) else [name]
    default = default or _first_covering(rules, caller)
    try:
        (compiled,) = named_label_sets(names, rules, caller, default, "model")
    except ApiError as refused:
        if refused.code != "unknown_label_set":
            raise
        raise ApiError(404, "model_not_found", refused.message, param="model") from None
    label_set = compiled.label_set
    if label_set.shadow:
        raise ApiError(
            400,
            "shadow_label_set",
            f"the label set {label_set.name!r} is tried out and flags nothing; name another one in "
            "model, or see its scores at /v1/classify",
            param="model",
        )
    if not any(label.act or label.review for label in label_set.labels):
        raise ApiError(
            400,
            "label_set_without_thresholds",
            f"the label set {label_set.name!r} has no threshold, so no image would be flagged; "
            "name another one in model",
            param="model",
        )
    return compiled
