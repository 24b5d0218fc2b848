"""``GET /v1/models``: the model, for embeddings, and the label sets, for moderations."""

from __future__ import annotations

from typing import NotRequired

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from typing_extensions import TypedDict

from workers.serve.caller import Admitted, Caller
from workers.serve.errors import ApiError
from workers.serve.openapi import errors
from workers.serve.services import Services

OWNER = "clipstream"


class Model(TypedDict):
    """The model or a label set. ``created`` is when this server started, in seconds since the
    epoch."""

    id: str
    object: str
    created: int
    owned_by: str
    kind: str
    revision: NotRequired[str]
    dimension: NotRequired[int]
    precision: NotRequired[str]
    version: NotRequired[str]
    labels: NotRequired[list[str]]


class ModelsAnswer(TypedDict):
    object: str
    data: list[Model]


def models(services: Services) -> APIRouter:
    router = APIRouter(tags=["OpenAI"])
    started = int(services.clock.time())

    @router.get(
        "/v1/models",
        summary="List the model and the label sets",
        responses={200: {"model": ModelsAnswer}, **errors(401, 403)},
    )
    async def list_models(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        known = models_of(services, admitted.caller, started)
        return JSONResponse({"object": "list", "data": list(known.values())})

    @router.get(
        "/v1/models/{model:path}",
        summary="Describe the model or a label set",
        responses={200: {"model": Model}, **errors(401, 403, 404)},
    )
    async def describe_model(request: Request, model: str) -> Response:
        admitted: Admitted = request.state.admitted
        known = models_of(services, admitted.caller, started)
        for each in known.values():
            if each["id"] == model or (each["kind"] == "embedding" and is_served(services, model)):
                return JSONResponse(each)
        raise not_served(model, known)

    return router


def models_of(services: Services, caller: Caller, started: int) -> dict[str, Model]:
    """The model, then the label sets that the caller may use, by their ids."""
    model = services.model
    owner, slash, _ = model.name.partition("/")
    known: dict[str, Model] = {
        model.name: {
            "id": model.name,
            "object": "model",
            "created": started,
            "owned_by": owner if slash else OWNER,
            "kind": "embedding",
            "revision": model.revision,
            "dimension": model.dimension,
            "precision": model.precision,
        }
    }
    for each in services.rules().scoring:
        if caller.may_use(each.label_set.name):
            known[each.label_set.name] = {
                "id": each.label_set.name,
                "object": "model",
                "created": started,
                "owned_by": OWNER,
                "kind": "moderation",
                "version": each.version,
                "labels": [label.name for label in each.label_set.labels],
            }
    return known


def is_served(services: Services, name: str) -> bool:
    """Whether a name means the model: its id, or the id without its owner. LiteLLM takes the owner
    ``openai`` for itself and sends the rest."""
    served = services.model.name
    return name in (served, served.rpartition("/")[2])


def not_served(name: str, known: dict[str, Model]) -> ApiError:
    """What is answered for a name that nobody here has."""
    return ApiError(
        404,
        "model_not_found",
        f"no model {name!r}; write one of {', '.join(known)}",
        param="model",
    )
