"""Parts of the OpenAPI document that routes share: bodies that a route reads itself, and errors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

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
    504: "The request took too long.",
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
