"""The OpenAPI document: what routes share, and what the gate adds to every route."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhg"
    "GAWjR9awAAAABJRU5ErkJggg=="
)
"""An image that examples can hold."""

_described = with_config(ConfigDict(use_attribute_docstrings=True, extra="allow"))


@_described
class ErrorValue(TypedDict):
    """What is wrong. Some codes have further fields, such as `errors` and `problems`."""

    message: str
    """What is wrong, and what to do, for people."""
    type: str
    """Kind of error, as OpenAI's clients know them."""
    param: str | None
    """Part of the request at fault, such as `images[3]`."""
    code: str
    """Stable code."""
    request_id: str
    """The request's id, as in the server's log."""


class ErrorAnswer(TypedDict):
    """The answer to a request that is refused or has failed."""

    error: ErrorValue


_ERRORS: Mapping[int, str] = {
    400: "The request is wrong, or none of its images can be looked at.",
    401: "The key is missing, unknown or expired.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    413: "The body is too large.",
    415: "The body is of a kind that is not read.",
    429: "The server or the key's share of it is busy. Try again after `retry-after-ms`.",
    500: "The server failed. Its log says more, under the request id.",
    503: "The server cannot answer now, or cannot reach the images. Try again after "
    "`retry-after-ms`.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route: errors in OpenAI's shape."""
    return {status: {"model": ErrorAnswer, "description": _ERRORS[status]} for status in statuses}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body that the route reads itself, without references: FastAPI knows
    only models of bodies that it reads."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {key: _resolved(value, definitions) for key, value in schema.items()}


def _resolved(part: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_resolved(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    if (name := part.get("$ref")) is not None:
        own = {key: value for key, value in part.items() if key != "$ref"}
        return copy.deepcopy(_resolved(definitions[name.rpartition("/")[2]], definitions)) | own
    return {key: _resolved(value, definitions) for key, value in part.items()}


TAGS: list[dict[str, Any]] = [
    {"name": "classify", "description": "Images and labels in, scores out."},
    {"name": "OpenAI", "description": "What OpenAI's clients call, with images."},
    {"name": "Hugging Face", "description": "What Hugging Face's inference client calls."},
    {"name": "live", "description": "The stream's outcomes, for the console."},
    {"name": "dead letters", "description": "What the stream could not look at."},
    {"name": "console", "description": "What the console shows of the server."},
    {"name": "health", "description": "Probes. They need no key."},
]

KEY = "key"
"""Name of the security scheme."""

_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key that `clipstream keys create` made. Needed where keys are configured.",
}
_RETRY_HEADERS = {
    "retry-after-ms": {
        "description": "Milliseconds after which the request may succeed.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 120_000},
    },
    "retry-after": {
        "description": "The same in seconds.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 120},
    },
}
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}


class Described(FastAPI):
    """An application whose document says what its gate asks of every route and answers for it."""

    def __init__(self, needs_key: Callable[[str], bool], **given: Any) -> None:
        """``needs_key`` tells of a path whether a request for it needs a key."""
        super().__init__(openapi_tags=TAGS, **given)
        self._needs_key = needs_key
        self._document: dict[str, Any] | None = None

    def openapi(self) -> dict[str, Any]:
        if self._document is None:
            self._document = self._completed(copy.deepcopy(super().openapi()))
        return self._document

    def _completed(self, document: dict[str, Any]) -> dict[str, Any]:
        document["components"]["securitySchemes"] = {KEY: _SCHEME}
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                self._complete(path, method, operation)
        return document

    def _complete(self, path: str, method: str, operation: dict[str, Any]) -> None:
        responses: dict[str, Any] = operation["responses"]
        # The framework describes its own refusals, which the application answers as 400.
        responses.pop("422", None)
        statuses = {400, 500, 503}
        if self._needs_key(path):
            operation["security"] = [{KEY: []}]
            # Without keys, 403 is for pages of other sites.
            statuses |= {401, 403, 415, 429}
        if method != "get":
            statuses.add(413)
        content = next(
            (each["content"] for status, each in responses.items() if int(status) >= 400),
            _ERROR_CONTENT,
        )
        for status in sorted(statuses - {int(each) for each in responses}):
            responses[str(status)] = {"description": _ERRORS[status], "content": content}
        for busy in {"429", "503"} & responses.keys():
            responses[busy]["headers"] = _RETRY_HEADERS
