"""Whether the replica lives, and whether it may be asked."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from pipeline.errors import Halt, WorkerLost
from workers.serve.errors import ApiError
from workers.serve.services import Services


def health(services: Services) -> APIRouter:
    """``/healthz``: whether the process can still answer; else it must be replaced. ``/readyz``:
    whether it may be asked; not while it drains."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Response:
        if services.standing.failure is not None:
            raise as_lost(services.standing.failure)
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", summary="Whether requests are answered")
    async def readyz() -> Response:
        standing = services.standing
        if standing.failure is not None:
            raise as_lost(standing.failure)
        if standing.draining:
            raise ApiError(503, "draining", "the server ends; ask another one", retry_after_s=1)
        return JSONResponse({"status": "ok"})

    return router


def as_lost(failure: Halt | WorkerLost) -> ApiError:
    """What a probe is told: the failure itself, because an operator reads it."""
    return ApiError(503, failure.code, failure.message)
