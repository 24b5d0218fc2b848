"""The route: reads a request, looks at its images at once, and scores each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic_core import to_json

from pipeline.errors import Reject, Retry
from pipeline.labels.scoring import CompiledLabelSet
from pipeline.records import JsonValue, LabelSetResult
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError
from workers.serve.images import Located, Seen
from workers.serve.looking import OURS, RETRY_S, scores_of
from workers.serve.publishing.records import Answered
from workers.serve.routes.classify.answer import image_value, model_value
from workers.serve.routes.classify.bodies import Item, Question, read
from workers.serve.routes.classify.described import DESCRIPTION, RESPONSES, SUMMARY, described
from workers.serve.services import Services

PATH = "/v1/classify"

Failed = Reject | Retry | ApiError
Scored = tuple[Seen | Failed, tuple[LabelSetResult, ...]]


def classify(services: Services) -> APIRouter:
    router = APIRouter(tags=["classify"])
    limit = services.settings.serve.max_images
    model = model_value(services.model, services.settings.events.embedding_dtype)

    @router.post(
        PATH,
        summary=SUMMARY,
        description=DESCRIPTION,
        responses=RESPONSES,
        openapi_extra=described(),
    )
    async def classify_images(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        question = await read(request, limit)
        with services.room.taken(len(question.items), admitted):
            # Taken once, so that all images are scored by the same version of the label sets.
            label_sets = await question.options.label_sets_of(services, admitted.caller)
            outcomes = await _outcomes(question.items, services, admitted)
        scored = _scored(outcomes, label_sets, services)
        answered = {
            index: Answered(item.given, *of_item)
            for index, (item, of_item) in enumerate(zip(question.items, scored, strict=True))
            if not isinstance(item.given, ApiError)
        }
        own_labels = question.options.labels is not None
        await services.records.publish(admitted, PATH, answered, own_labels=own_labels)
        values = _values(question, scored)
        body = {
            "request_id": admitted.request_id,
            "created": int(services.clock.time()),
            "model": model,
            "images": values,
            "usage": {"images": admitted.images, "image_bytes": admitted.image_bytes},
        }
        return Response(to_json(body), media_type="application/json")

    return router


async def _outcomes(
    items: Sequence[Item], services: Services, admitted: Admitted
) -> list[Seen | Failed]:
    """What became of each image, in order."""
    given = [item.given for item in items if not isinstance(item.given, ApiError)]
    seen = iter(await services.images.seen_all(given, admitted))
    return [item.given if isinstance(item.given, ApiError) else next(seen) for item in items]


def _scored(
    outcomes: Sequence[Seen | Failed], label_sets: Sequence[CompiledLabelSet], services: Services
) -> list[Scored]:
    """What became of each item, in order, with the scores of its image."""
    scored: list[Scored] = []
    for outcome in outcomes:
        try:
            results = scores_of(outcome, label_sets, services) if isinstance(outcome, Seen) else ()
            scored.append((outcome, results))
        except Reject as failure:
            scored.append((failure, ()))
    return scored


def _values(question: Question, scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """The images as they are answered, in order.

    Raises:
        ApiError: no image could be looked at.
    """
    values: list[dict[str, Any]] = []
    failures: dict[int, Failed] = {}
    for index, (item, (outcome, results)) in enumerate(zip(question.items, scored, strict=True)):
        value: dict[str, Any] = {"index": index}
        if item.id is not None:
            value["id"] = item.id
        if isinstance(outcome, Seen):
            uri = item.given.ref.uri if isinstance(item.given, Located) else None
            value |= image_value(outcome, results, question.options.embedding, uri)
        else:
            failures[index] = outcome
            value["error"] = {"code": outcome.code, "message": outcome.message}
        values.append(value)
    if len(failures) == len(values):
        raise _nothing_seen(question.items, failures, values)
    return values


def _nothing_seen(
    items: Sequence[Item], failures: dict[int, Failed], values: list[dict[str, Any]]
) -> ApiError:
    """The error of a request none of whose images could be looked at."""
    first = failures[0]
    listed: list[JsonValue] = [dict(value) for value in values]
    retry_after_s = None
    if all(isinstance(failure, Retry) for failure in failures.values()):
        status = 503
        waits = [it.retry_after_s or 0 for it in failures.values() if isinstance(it, Retry)]
        retry_after_s = max(RETRY_S, *waits)
    elif all(failure.code.startswith(OURS) for failure in failures.values()):
        status = 500
    else:
        status = 400
    return ApiError(
        status,
        first.code,
        first.message,
        param=items[0].param,
        retry_after_s=retry_after_s,
        more={"errors": listed} if len(values) > 1 else None,
    )
