"""The application put together: ASGI, without Ray."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from pipeline.errors import (
    Halt,
    Overloaded,
    Reject,
    Retry,
    WorkerLost,
    is_exhaustion,
)
from pipeline.metrics import HTTP_REFUSALS
from workers.serve.admission.asgi import Application
from workers.serve.admission.families import FAMILIES, Families
from workers.serve.admission.gate import DRAINING_RETRY_S, INTERNAL, LOST, Gate
from workers.serve.caller import Admitted
from workers.serve.console.pages import console
from workers.serve.errors import ApiError, answer_of
from workers.serve.live.routes.letters import letters
from workers.serve.live.routes.live import live
from workers.serve.live.routes.overview import overview
from workers.serve.looking import failed
from workers.serve.openapi import Described
from workers.serve.routes.classify import classify
from workers.serve.routes.embeddings import embeddings
from workers.serve.routes.health import health
from workers.serve.routes.huggingface import huggingface
from workers.serve.routes.models import models
from workers.serve.routes.moderations import moderations
from workers.serve.services import Services

NOT_NOW = frozenset({429, 503})
"""Statuses of requests that are refused although nothing is wrong with them."""

LACKING = "the server lacks what this request needs; its operator finds the reason by the code"

STAGES = frozenset({"encode", "decode"})
"""Stages whose halt ends the replica: its model or its decoders work no more."""

OPENAI_PATHS = ("/models", "/embeddings", "/moderations", "/chat/", "/completions", "/classify")
"""What OpenAI's clients ask for if their base URL lacks ``/v1``."""


def build_app(services: Services, *, sets_request_id: bool = True) -> Application:
    """The application, which answers every request with JSON.

    ``sets_request_id``: as for ``Gate``; False on Ray Serve, whose proxies set the header.
    """
    # The documents of FastAPI load scripts from another host, and are off. A redirect would name
    # the host that the client has sent.
    families = Families(FAMILIES)
    api = Described(
        lambda path: services.keys is not None and not families.of(path).public,
        title="Clipstream",
        version=version("clipstream"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api.include_router(health(services))
    for routes in (classify, moderations, embeddings, models, huggingface, overview, live, letters):
        api.include_router(routes(services))
    if services.settings.serve.console:
        api.include_router(console())

    async def answer(request: Request, error: Exception) -> Response:
        admitted: Admitted = request.state.admitted
        if is_exhaustion(error):
            error = WorkerLost("serve.exhausted", f"{type(error).__name__}: {error}")
        if isinstance(error, Halt | WorkerLost) and ends_replica(error):
            services.standing.failure = error
        told = as_api_error(error, request.url.path)
        if told.status in NOT_NOW:
            services.meter.add(HTTP_REFUSALS, reason=told.code)
        status, headers, body = answer_of(told, admitted.request_id, request.url.path)
        if isinstance(error, HTTPException) and error.headers:
            headers |= error.headers  # Allow, beside a 405
        return Response(body, status, headers)

    for kind in (ApiError, Reject, Retry, Overloaded, Halt, WorkerLost, HTTPException):
        api.add_exception_handler(kind, answer)
    api.add_exception_handler(RequestValidationError, answer)
    # After this answer the exception is raised again, and the gate logs it.
    api.add_exception_handler(Exception, answer)
    return Gate(api, services, FAMILIES, sets_request_id=sets_request_id)


def ends_replica(failure: Halt | WorkerLost) -> bool:
    """Whether the replica can answer nothing any more. A halt of another stage, such as a store
    without credentials, fails the requests that need the stage."""
    return isinstance(failure, WorkerLost) or failure.code.partition(".")[0] in STAGES


def as_api_error(error: Exception, path: str) -> ApiError:
    """What is answered for a failure of the pipeline or of the framework."""
    match error:
        case ApiError():
            return error
        case Overloaded():
            return ApiError(429, error.code, error.message, retry_after_s=error.wait_s)
        case Reject() | Retry():
            return failed(error)
        case Halt() | WorkerLost() if ends_replica(error):
            return ApiError(503, error.code, LOST, retry_after_s=DRAINING_RETRY_S)
        case Halt():
            return ApiError(503, error.code, LACKING, retry=False)
        case RequestValidationError():
            return _invalid(error)
        case HTTPException(status_code=404):
            return _not_found(path)
        case HTTPException(status_code=405):
            return ApiError(
                405, "method_not_allowed", "the path takes another method; see the header Allow"
            )
        case HTTPException(status_code=status) if status < 500:
            return ApiError(400, "invalid_request", str(error.detail))
    return ApiError(500, "internal", INTERNAL)


def _invalid(error: RequestValidationError) -> ApiError:
    first, *more = error.errors()
    # ("body", "input", 3, "text") is input[3].text to a client.
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"][1:]
    ).lstrip(".")
    others = f" (and {len(more)} more problems)" if more else ""
    return ApiError(
        400,
        "invalid_request",
        f"{where or 'the request'}: {first['msg']}{others}",
        param=where or None,
    )


def _not_found(path: str) -> ApiError:
    if path.startswith(OPENAI_PATHS):
        return ApiError(404, "not_found", f"there is no {path[:100]}; base_url must end in /v1")
    return ApiError(404, "not_found", f"there is no {path[:100]}; see /openapi.json for what is")
