"""Problems in files that people write, in one style: the key, what is wrong, what to write.

A ``Problem`` names its keys. Only the reader of the file knows the line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

KeyPath = tuple[str | int, ...]

IN_YAML: Mapping[type, str] = {
    type(None): "empty",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}
"""Words for a person who writes a file. A boolean comes before a number because it is an int
too."""

_BARE = re.compile(r"[\w.-]+")
"""Keys that a path shows without quotes."""

_MAX_SHOWN = 60
"""Characters of a text in a message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a key, and what to write instead."""

    path: KeyPath
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def dotted(path: Iterable[str | int]) -> str:
    """A path on one line: ``labels[0].name``."""
    where = "".join(
        f"[{key}]" if isinstance(key, int) else f".{key if _BARE.fullmatch(key) else quoted(key)}"
        for key in path
    )
    return where.removeprefix(".")


def quoted(text: str) -> str:
    """The text in quotes and short enough for one line."""
    return repr(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…")


def kind(value: object, words: Mapping[type, str] = IN_YAML) -> str:
    """The kind of the value, without showing the value."""
    return next((word for each, word in words.items() if isinstance(value, each)), "something else")


def described(value: object) -> str:
    """The kind of the value, and the value itself if it fits into a line."""
    of = "an empty list" if value == [] else kind(value)
    if not isinstance(value, bool | int | float | str):
        return of
    shown = quoted(value) if isinstance(value, str) else str(value).lower()
    return f"the {of.removeprefix('a ')} {shown}"


def alike(key: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """The known key that was probably meant, if one is similar enough."""
    return difflib.get_close_matches(key, list(known), n=1, cutoff=cutoff)


def instead(meant: Sequence[str], known: Iterable[str]) -> str:
    """What to write in place of an unknown key."""
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return f"known are {', '.join(known)}"


def said(message: str) -> str:
    """The text of our own check, taken out of the message that pydantic makes of it."""
    return message.removeprefix("Value error, ")


def first_said(error: ValidationError, whole: str) -> str:
    """Where the first problem is, and what pydantic says of it. ``whole`` names what was read, for
    a problem of no place within it."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or whole
    return f"{place}: {first['msg']}"
