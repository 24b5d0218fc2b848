"""Errors as a client sees them: a status, and a JSON body of the shape that OpenAI's clients read.

Never 408 or 409: OpenAI's clients send such a request again at once, which triples an overload.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping

from pipeline.records import JsonValue

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

LONGEST_RETRY_S = 120.0
"""OpenAI's clients do not try again at all if they are asked to wait longer."""

HUGGING_FACE = "/hf/"
"""Where routes for Hugging Face's clients begin. They read errors of another shape."""


class ApiError(Exception):
    """The request is answered with ``status``.

    ``code`` is stable and part of the public contract. ``message`` is for people: what is wrong
    (observed against limit), and what to do. ``param`` names the part of the request at fault, such
    as ``input[3]``. ``retry_after_s`` is the wait after which the same request may succeed.
    ``retry`` False tells OpenAI's clients not to try again. ``more`` are further fields of the
    error's object.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        retry: bool = True,
        more: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.retry = retry
        self.more = dict(more or {})

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    def body(self, request_id: str) -> bytes:
        """The JSON body."""
        kind = _TYPES.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        error: dict[str, JsonValue] = {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code,
            "request_id": request_id,
        }
        return json.dumps({"error": error | self.more}).encode()

    def headers(self) -> dict[str, str]:
        """Headers beside the content type. OpenAI's clients read ``retry-after-ms``."""
        headers = {} if self.retry else {"x-should-retry": "false"}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.retry_after_s is not None:
            wait_s = min(self.retry_after_s, LONGEST_RETRY_S)
            headers["retry-after-ms"] = str(max(1, round(wait_s * 1000)))
            headers["retry-after"] = str(max(1, round(wait_s)))
        return headers


JITTER = 0.25
"""Part by which the waits of refused clients differ, so that they do not all come back at once."""


def overloaded(
    message: str, wait_s: float, chance: Callable[[], float] = random.random
) -> ApiError:
    """429: the server has no room now. ``chance`` returns a number below 1."""
    return ApiError(429, "overloaded", message, retry_after_s=wait_s * (1 + JITTER * chance()))


def answer_of(error: ApiError, request_id: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a request for ``path``."""
    headers = {"content-type": "application/json"} | error.headers()
    if not path.startswith(HUGGING_FACE):
        return error.status, headers, error.body(request_id)
    # A header is one line of ASCII.
    told = " ".join(error.message.split()).encode("ascii", "replace").decode()
    headers["x-error-message"] = told[:1000]
    body = {"error": error.message, "code": error.code, "request_id": request_id}
    return error.status, headers, json.dumps(body).encode()
