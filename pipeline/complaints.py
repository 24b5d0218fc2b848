"""What is wrong in a file that a person wrote, in one style: the key, what is wrong, what to write.

Where a problem stands in a file is known to whoever read the file: a ``Problem`` names its keys.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
"""Words for a person who writes a file; a boolean is looked for before a number, which it is."""

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
    """What a value is, without showing it."""
    return next((word for each, word in words.items() if isinstance(value, each)), "something else")


def described(value: object) -> str:
    """What a value is, and the value where it fits into a line."""
    of = "an empty list" if value == [] else kind(value)
    if not isinstance(value, bool | int | float | str):
        return of
    shown = quoted(value) if isinstance(value, str) else str(value).lower()
    return f"the {of.removeprefix('a ')} {shown}"


def alike(key: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """The known key that was meant, if one is like enough."""
    return difflib.get_close_matches(key, list(known), n=1, cutoff=cutoff)


def instead(meant: Sequence[str], known: Iterable[str]) -> str:
    """What to write in place of an unknown key."""
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return f"known are {', '.join(known)}"


def said(message: str) -> str:
    """What a check of ours said, of the message that pydantic makes of it."""
    return message.removeprefix("Value error, ")
