"""The application put together: ASGI, without Ray."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import Response

from pipeline.errors import Halt, Overloaded, Reject, Retry, WorkerLost
from workers.serve.admission.gate import Application, Gate
from workers.serve.caller import Admitted
from workers.serve.console.pages import console
from workers.serve.errors import ApiError
from workers.serve.routes.classify import classify
from workers.serve.routes.health import health
from workers.serve.services import Services

UNAVAILABLE_RETRY_S = 1.0


def build_app(services: Services) -> Application:
    """The application, which answers every request with JSON."""
    # The documents of FastAPI load scripts from another host, and are off.
    api = FastAPI(title="Clipstream", version=version("clipstream"), docs_url=None, redoc_url=None)
    api.include_router(health(services))
    api.include_router(classify(services))
    if services.settings.serve.console:
        api.include_router(console())

    async def answer(request: Request, error: Exception) -> Response:
        admitted: Admitted = request.state.admitted
        told = as_api_error(error)
        if isinstance(error, Halt | WorkerLost):
            services.standing.failure = error
        return Response(
            told.body(admitted.request_id), told.status, told.headers(), "application/json"
        )

    for kind in (ApiError, Reject, Retry, Overloaded, Halt, WorkerLost):
        api.add_exception_handler(kind, answer)
    return Gate(api, services)


def as_api_error(error: Exception) -> ApiError:
    """What is answered for a failure of the pipeline."""
    match error:
        case ApiError():
            return error
        case Overloaded():
            return ApiError(429, error.code, error.message, retry_after_s=error.wait_s)
        case Reject():
            return ApiError(400, error.code, error.message)
        case Retry():
            wait_s = error.retry_after_s or UNAVAILABLE_RETRY_S
            return ApiError(503, error.code, error.message, retry_after_s=wait_s)
        case Halt() | WorkerLost():
            return ApiError(
                503,
                error.code,
                "this replica cannot answer any more and is replaced; try again",
                retry_after_s=UNAVAILABLE_RETRY_S,
            )
    return ApiError(500, "internal", "the server failed; look at its log by the request id")
