"""JSON bodies of requests: read into a model, and described in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from pipeline.complaints import dotted, said
from pipeline.records import JsonValue
from workers.serve.errors import ApiError
from workers.serve.openapi import schema_of

Body = TypeVar("Body", bound=BaseModel)

SHOWN = 80
"""Characters of a key that an answer repeats."""


async def read_json(request: Request, model: type[Body]) -> Body:
    """The body as ``model``. pydantic reads JSON some ten times faster than the standard library.

    Raises:
        ApiError: 400: it is no JSON, or not of this model.
    """
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        if first["type"] == "json_invalid":
            raise ApiError(400, "invalid_json", f"the body is no JSON: {first['msg']}") from None
        param = dotted(first["loc"])
        more = f" (and {len(others)} more)" if others else ""
        raise ApiError(
            400,
            "invalid_request",
            f"{param or 'the body'}: {said(first['msg'])}{more}",
            param=param[:SHOWN] or None,
        ) from None


def json_body(model: type[BaseModel], examples: Mapping[str, JsonValue]) -> dict[str, Any]:
    """What ``openapi_extra`` says of a route that reads ``model``. ``examples`` are bodies by what
    they show."""
    content = {
        "schema": schema_of(model),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
