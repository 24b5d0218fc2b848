"""JSON bodies of requests: read into a model, and described in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from pipeline.records import JsonValue
from workers.serve.errors import ApiError

Body = TypeVar("Body", bound=BaseModel)


async def read_json(request: Request, model: type[Body]) -> Body:
    """The body as ``model``. pydantic reads JSON some ten times faster than the standard library.

    Raises:
        ApiError: 400: it is no JSON, or not of this model.
    """
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = _written(first["loc"])
        where = f"{param}: " if param else ""
        raise ApiError(
            400, "invalid_request", f"{where}{first['msg']}; mend the body", param=param or None
        ) from error


def json_body(model: type[BaseModel], examples: Mapping[str, JsonValue]) -> dict[str, Any]:
    """What ``openapi_extra`` says of a route that reads ``model``. ``examples`` are bodies by what
    they show."""
    content = {
        "schema": model.model_json_schema(),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _written(path: tuple[int | str, ...]) -> str:
    """The path of a key as clients write it: ``parameters.candidate_labels[1]``."""
    written = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return written.removeprefix(".")
