"""``GET /v1/console``: what the page needs at its start. ``GET /v1/status``: how the server is."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from pipeline import metrics
from pipeline.labels.label_set import Label, LabelSet, Threshold
from pipeline.records import JsonValue
from workers.serve.caller import Caller, Scope
from workers.serve.live.live import NOT_CONFIGURED
from workers.serve.live.outcome import Object
from workers.serve.live.routes.asking import needing
from workers.serve.openapi import errors
from workers.serve.services import Services


def overview(services: Services) -> APIRouter:
    router = APIRouter(tags=["console"])
    live, settings = services.live, services.settings

    @router.get(
        "/v1/console",
        summary="What the console needs at its start",
        responses=errors(401, 403, 429, 503),
    )
    async def console(request: Request) -> Response:
        caller = needing(Scope.CLASSIFY, request).caller
        sets = _label_sets(services, caller)
        default = settings.serve.default_label_set
        if default is None or not caller.may_use(default):
            default = min((label_set.name for label_set in sets), default=None)
        changed_at = live.changed_at()
        configured = live.stream is not None
        return JSONResponse(
            {
                "version": version("clipstream"),
                "model": _model(services),
                "key": {"name": caller.name, "scopes": sorted(caller.scopes)},
                "label_sets": [
                    _label_set(label_set) | {"changed_at": changed_at.get(label_set.name)}
                    for label_set in sets
                ],
                "default_label_set": default,
                "blur": settings.serve.blur,
                "stream": {
                    "configured": configured,
                    "why": None if configured else NOT_CONFIGURED,
                },
                "limits": {
                    "max_images": settings.serve.max_images,
                    "max_body_bytes": settings.serve.max_body_bytes,
                    "max_prompts": settings.serve.max_prompts,
                },
                "geometry": {"resize": live.geometry.resize, "crop": live.geometry.crop},
            }
        )

    @router.get(
        "/v1/status",
        summary="Model, label sets, replicas and workers",
        responses=errors(401, 403, 429, 503),
    )
    async def status(request: Request) -> Response:
        needing(Scope.ADMIN, request)
        changed_at, values = live.changed_at(), live.values()
        workers = await services.cluster.workers()
        queued = {
            stage: round(values.get((metrics.QUEUE_DEPTH.name, stage), 0))
            for stage in ("decode", "encode")
        }
        return JSONResponse(
            {
                "model": _model(services),
                "label_sets": [
                    {"name": name, "version": of_set, "changed_at": changed_at.get(name)}
                    for name, of_set in sorted(services.rules().versions.items())
                ],
                "replicas": [*await services.cluster.replicas()],
                "workers": None if workers is None else [*workers],
                "queues": queued | {"in_hand": services.room.images},
            }
        )

    return router


def _model(services: Services) -> Object:
    model = services.model
    return {
        "name": model.name,
        "revision": model.revision,
        "precision": model.precision,
        "dimension": model.dimension,
        "logit_scale": model.logit_scale,
        "engine": model.engine,
    }


def _label_sets(services: Services, caller: Caller) -> list[LabelSet]:
    loaded = (compiled.label_set for compiled in services.rules().scoring)
    allowed = (label_set for label_set in loaded if caller.may_use(label_set.name))
    return sorted(allowed, key=lambda label_set: label_set.name)


def _label_set(label_set: LabelSet) -> Object:
    return {
        "name": label_set.name,
        "version": label_set.version,
        "decision": label_set.decision.value,
        "actions": [*label_set.actions],
        "default_action": label_set.default_action,
        "labels": [_label(label) for label in label_set.labels],
    }


def _label(label: Label) -> JsonValue:
    return {
        "name": label.name,
        "neutral": label.neutral,
        "act": _threshold(label.act),
        "review": _threshold(label.review),
        "category": next(iter(label.categories), None),
        "categories": [*label.categories],
    }


def _threshold(threshold: Threshold | None) -> JsonValue:
    return None if threshold is None else {"score": threshold.score, "action": threshold.action}
