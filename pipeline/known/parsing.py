"""The format of the header of a list of known pictures: plain data in, a list or everything that is
wrong out. ``docs/known-pictures.md`` describes the format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError
from pydantic_core import ErrorDetails

from pipeline.complaints import Problem, alike, described, instead, quoted, said
from pipeline.known.hamming import MOST_DISTANCE
from pipeline.known.lists import KnownList, KnownModel
from pipeline.records.known import KnownKind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class InvalidKnownList(Exception):
    """The data is no header of a list; ``problems`` is never empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} is no name; write 1 to 64 letters, digits, dots, dashes or underscores"
        )
    return text


def _kind(text: str) -> str:
    if text not in list(KnownKind):
        kinds = " or ".join(KnownKind)
        raise ValueError(f"{quoted(text)} is unknown; write {kinds}")
    return text


_Name = Annotated[str, Strict(), AfterValidator(_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Strict(), Field(min_length=1)]
    revision: Annotated[str, Strict(), Field(min_length=1)]


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    kind: Annotated[str, Strict(), AfterValidator(_kind)]
    action: _Name
    entries: Annotated[str, Strict(), Field(min_length=1)]
    max_distance: Annotated[int, Strict(), Field(ge=0, le=MOST_DISTANCE)] | None = None
    min_cosine: Annotated[float, Strict(), Field(gt=0, le=1)] | None = None
    model: _Model | None = None


_WANTED = {
    "string_type": "a text, in quotes",
    "string_too_short": "a text",
    "int_type": f"a whole number from 0 to {MOST_DISTANCE}",
    "less_than_equal": f"a number of bits from 0 to {MOST_DISTANCE}, or a cosine up to 1",
    "greater_than_equal": f"a number of bits from 0 to {MOST_DISTANCE}",
    "greater_than": "a cosine above 0, up to 1",
    "float_type": "a cosine above 0, up to 1",
}
_OF_KIND = {"max_distance": "pdq", "min_cosine": "embedding", "model": "embedding"}
"""Keys that only one kind has."""
_NEEDED = {
    "min_cosine": "say how near an embedding must be",
    "model": "embeddings of another model mean nothing: write its name and revision",
}


def parse_header(document: Any) -> tuple[KnownList, str]:
    """The list that a header describes, and the path of its entries as it is written there.

    Raises:
        InvalidKnownList: with all that is wrong.
    """
    try:
        header = _Header.model_validate(document)
    except ValidationError as error:
        problems = sorted(map(_problem, error.errors(include_url=False)), key=str)
        raise InvalidKnownList(tuple(problems)) from None
    kind = KnownKind(header.kind)
    if problems := list(_of_other_kinds(header)):
        raise InvalidKnownList(tuple(problems))
    distance, model = header.max_distance, header.model
    if kind is KnownKind.PDQ and distance is None:
        distance = MOST_DISTANCE
    pin = None if model is None else KnownModel(model.name, model.revision)
    known = KnownList(header.name, kind, header.action, distance, header.min_cosine, pin)
    return known, header.entries


def _of_other_kinds(header: _Header) -> Iterator[Problem]:
    for key, kind in _OF_KIND.items():
        written = getattr(header, key) is not None
        if written and header.kind != kind:
            yield Problem((key,), f"means nothing for the kind {header.kind}; remove it")
        elif not written and header.kind == kind and key in _NEEDED:
            yield Problem((), f"{key} is missing; {_NEEDED[key]}")


def _problem(error: ErrorDetails) -> Problem:
    path, keys = error["loc"], tuple(_Header.model_fields)
    match error["type"]:
        case "missing":
            return Problem(path[:-1], f"{path[-1]} is missing; write it")
        case "extra_forbidden":
            keys = tuple(_Model.model_fields) if path[0] == "model" else keys
            return Problem(path, f"unknown key; {instead(alike(str(path[-1]), keys), keys)}")
        case "value_error":
            return Problem(path, said(error["msg"]))
        case wrong:
            wanted = _WANTED.get(wrong, f"a mapping with {', '.join(keys)}")
            return Problem(path, f"is {described(error['input'])}; write {wanted}")
