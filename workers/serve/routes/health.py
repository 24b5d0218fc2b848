"""Whether the replica lives, and whether it may be asked."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from workers.serve.errors import ApiError
from workers.serve.services import Services


def health(services: Services) -> APIRouter:
    """``/healthz`` and ``/readyz``."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", summary="Whether requests are answered")
    async def readyz() -> Response:
        standing = services.standing
        if standing.failure is not None:
            raise ApiError(503, standing.failure.code, standing.failure.message)
        if standing.draining:
            raise ApiError(503, "draining", "the server ends; ask another one", retry_after_s=1)
        return JSONResponse({"status": "ok"})

    return router
