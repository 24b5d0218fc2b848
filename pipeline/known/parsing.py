"""The format of the header of a list of known pictures: plain data in, a list or everything that is
wrong out. ``docs/known-pictures.md`` describes the format."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError
from pydantic_core import ErrorDetails

from pipeline.complaints import Problem, alike, described, instead, quoted, said
from pipeline.known.lists import KnownList
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


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    kind: Annotated[str, Strict(), AfterValidator(_kind)]
    action: _Name
    entries: Annotated[str, Strict(), Field(min_length=1)]


_WANTED = {
    "string_type": "a text, in quotes",
    "string_too_short": "the name of a file",
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
    return KnownList(header.name, KnownKind(header.kind), header.action), header.entries


def _problem(error: ErrorDetails) -> Problem:
    path, keys = error["loc"], tuple(_Header.model_fields)
    match error["type"]:
        case "missing":
            return Problem(path[:-1], f"{path[-1]} is missing; write it")
        case "extra_forbidden":
            return Problem(path, f"unknown key; {instead(alike(str(path[-1]), keys), keys)}")
        case "value_error":
            return Problem(path, said(error["msg"]))
        case wrong:
            wanted = _WANTED.get(wrong, f"a mapping with {', '.join(keys)}")
            return Problem(path, f"is {described(error['input'])}; write {wanted}")
