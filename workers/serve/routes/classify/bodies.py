"""The forms in which images and questions come: JSON, a form with files, or an image as it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pipeline.complaints import dotted, said
from workers.serve.errors import ApiError
from workers.serve.images import Given, Inline
from workers.serve.reading.sources import given_of
from workers.serve.routes.classify.asked import (
    OBJECT,
    TEXT,
    Asked,
    AskedImage,
    Options,
    require_few,
)

JSON = "application/json"
FORM = "multipart/form-data"

IMAGE_FIELDS = ("image", "images", "file", "files")
"""Fields of a form that hold images, as files or as texts."""

SHOWN = 60
"""Characters of a name that a message repeats."""

MAX_FIELDS = 256
MAX_FIELD_BYTES = 1024 * 1024

_SPLIT = ("labels", "label_sets")
_LISTS = (*_SPLIT, "templates", "contrast")

NO_OPTIONS = Options()

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(slots=True)
class Item:
    """An image of a request: what the request calls it, the caller's id of it, and what it gives,
    or what is wrong with that."""

    param: str
    given: Given | ApiError
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Images, and what is asked of them."""

    items: list[Item]
    options: Options


async def read(request: Request, max_images: int) -> Question:
    """What a request asks, in whatever form.

    Raises:
        ApiError: 400: the request cannot be understood, or has more than ``max_images``.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = request.query_params.multi_items() if request.scope["query_string"] else []
    if kind == JSON:
        return _of_json(await request.body(), query, max_images)
    if kind == FORM:
        return await _of_form(request.headers, await request.body(), query, max_images)
    # Whatever else the gate lets through is an image: clients say little of a file's bytes.
    return Question([Item("body", Inline(await request.body()))], _options(query))


def _of_json(body: bytes, query: list[tuple[str, str]], max_images: int) -> Question:
    asked = _validated(lambda: Asked.model_validate_json(body))
    images = asked.named_images()
    require_few(len(images), max_images, "images")
    options: Options = asked
    if query:
        own = asked.model_dump(include=set(Options.model_fields), exclude_unset=True)
        given = _given(query)
        if twice := own.keys() & given.keys():
            raise _twice(min(twice))
        options = _validated(lambda: Options.model_validate(own | given))
    return Question([_item(param, image) for param, image in images], options)


async def _of_form(
    headers: Headers, body: bytes, query: list[tuple[str, str]], max_images: int
) -> Question:
    items: list[Item] = []
    options = list(query)
    for name, value in await _fields(headers, body):
        if name in IMAGE_FIELDS:
            param = f"{name}[{len(items)}]"
            if isinstance(value, bytes):
                items.append(Item(param, Inline(value, copied=True)))
            else:
                items.append(_item(param, value))
        elif isinstance(value, bytes):
            raise ApiError(
                400,
                "invalid_request",
                f"the field is a file; files of images stand in {' or '.join(IMAGE_FIELDS[:2])}",
                param=name[:SHOWN],
            )
        else:
            options.append((name, value))
    if not items:
        raise ApiError(
            400, "invalid_request", "the form has no image; add a field of this name", param="image"
        )
    require_few(len(items), max_images, "images")
    return Question(items, _options(options))


async def _fields(headers: Headers, body: bytes) -> list[tuple[str, str | bytes]]:
    """The form's fields in order. Those with a file name are bytes."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(
        headers,
        stream(),
        max_files=MAX_FIELDS,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = len(body) + 1  # files stay in memory, where the body is, too
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(
            400, "invalid_multipart", f"the form cannot be read: {error.message}"
        ) from None
    try:
        return [
            (name, await value.read() if isinstance(value, UploadFile) else value)
            for name, value in form.multi_items()
        ]
    finally:
        await form.close()


def _item(param: str, image: str | AskedImage) -> Item:
    text, own_id = (image, None) if isinstance(image, str) else (image.image, image.id)
    try:
        return Item(param, given_of(text, param), own_id)
    except ApiError as wrong:
        return Item(param, wrong.with_traceback(None), own_id)


def _options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Options that are written as texts."""
    given = _given(pairs)
    if not given:
        return NO_OPTIONS
    return _validated(lambda: Options.model_validate(given))


def _given(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What texts stand for, by option. One text of ``labels`` or ``label_sets`` is split at its
    commas; several are taken as they are. A text in brackets or braces is JSON."""
    texts: dict[str, list[str]] = {}
    for name, value in pairs:
        texts.setdefault(name, []).append(value)
    if len(texts.get("label_set", ())) > 1:
        texts.setdefault("label_sets", []).extend(texts.pop("label_set"))
    given: dict[str, Any] = {}
    for name, values in texts.items():
        if name not in Options.model_fields:
            known = ", ".join(Options.model_fields)
            raise ApiError(
                400,
                "invalid_request",
                f"{name[:SHOWN]!r} is unknown; known are {known}",
                param=name[:SHOWN],
            )
        if len(values) > 1 and name not in _LISTS:
            raise _twice(name)
        given[name] = values if len(values) > 1 else _value(name, values[0])
    return given


def _twice(name: str) -> ApiError:
    return ApiError(400, "invalid_request", f"{name} is given twice; send it once", param=name)


def _value(name: str, text: str) -> Any:
    if name not in _LISTS:
        return text
    if text.lstrip().startswith("["):
        try:
            return from_json(text)
        except ValueError:
            raise ApiError(400, "invalid_json", f"{name} is no JSON", param=name) from None
    if name in _SPLIT:
        return [part.strip() for part in text.split(",")]
    return [text]


def _validated(read: Callable[[], _Model]) -> _Model:
    try:
        return read()
    except ValidationError as invalid:
        first, *others = invalid.errors(include_url=False, include_input=False)
        raise _refused(first, len(others)) from None


def _refused(problem: ErrorDetails, others: int) -> ApiError:
    path = [key for key in problem["loc"] if key not in (TEXT, OBJECT)]
    more = f" (and {others} more)" if others else ""
    if problem["type"] == "json_invalid":
        return ApiError(400, "invalid_json", f"the body is no JSON: {problem['msg']}")
    return ApiError(
        400,
        "invalid_request",
        f"{dotted(path) or 'the request'}: {said(problem['msg'])}{more}",
        param=dotted(path)[:SHOWN] or None,
    )
