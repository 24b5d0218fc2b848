"""Plain data, as YAML or JSON hold it, read key by key; everything wrong with it is noted.

Where a problem stands in a file is known to whoever read the file: a ``Problem`` names its keys.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.records import JsonValue

KeyPath = tuple[str | int, ...]

MAX_TEXT_CHARACTERS = 500
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What routes, queries and dashboards can hold without quoting."""

_FLAGS: Mapping[str, bool] = {"yes": True, "on": True, "no": False, "off": False}

Check = Callable[[str], str | None]
"""Says what is wrong with a text, and what to write instead; None if nothing is."""


def any_text(text: str) -> str | None:
    """Accepts every text."""
    return None


def identifier(text: str) -> str | None:
    """Accepts names of label sets and actions."""
    if _IDENTIFIER.fullmatch(text):
        return None
    return f"{quoted(text)} is no name; write 1 to 64 letters, digits, dots, dashes or underscores"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a key, and what to write instead."""

    path: KeyPath
    message: str

    def __str__(self) -> str:
        where = "".join(
            f"[{key}]" if isinstance(key, int) else f".{key if key.isidentifier() else quoted(key)}"
            for key in self.path
        )
        return f"{where.removeprefix('.')}: {self.message}" if where else self.message


class Section:
    """One mapping of the document: hands out its values and notes what is wrong with them.

    A reader returns None where the key is absent. Where its value is wrong the problem is noted,
    and what is returned only keeps later checks from reporting the same thing again.
    """

    def __init__(
        self, value: JsonValue, path: KeyPath, keys: tuple[str, ...], problems: list[Problem]
    ) -> None:
        self._path = path
        self._problems = problems
        self._values: Mapping[str, JsonValue] = {}
        if not isinstance(value, dict):
            self.complain(f"is {_kind(value)}; write a mapping with {', '.join(keys)}")
            self._problems = []  # nothing inside it is worth a word
            return
        self._values = value
        for key in value:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1)
                meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
                self.complain(f"unknown key; {meant}", key)

    def complain(self, message: str, *keys: str | int) -> None:
        self._problems.append(Problem((*self._path, *keys), message))

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, check: Check = any_text, *, required: bool = False) -> str | None:
        if key not in self._values:
            if required:
                self.complain(f"{key} is missing; write it")
            return None
        return self._text(self._values[key], check, key)

    def texts(
        self, key: str, check: Check = any_text, *, required: bool = False
    ) -> tuple[str, ...] | None:
        """A list of at least one text, none of them twice."""
        if key not in self._values:
            if required:
                self.complain(f"{key} is missing; write it")
            return None
        texts: dict[str, None] = {}  # ordered, and quick to search
        for index, item in enumerate(self._list(key)):
            text = self._text(item, check, key, index)
            if text in texts:
                self.complain(f"{quoted(text)} stands here twice; remove one", key, index)
            elif text:
                texts[text] = None
        return tuple(texts)

    def probability(self, key: str) -> float | None:
        value = self._values.get(key)
        if key not in self._values:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.complain(f"is {_kind(value)}; write a number from 0 to 1", key)
            return None
        if not 0 <= value <= 1:  # false for a NaN, too
            self.complain(f"{value} is no probability; write a number from 0 to 1", key)
            return None
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if isinstance(value, str):  # YAML 1.1's words, which are texts elsewhere
            value = _FLAGS.get(value.lower(), value)
        if isinstance(value, bool):
            return value
        self.complain(f"is {_kind(value)}; write true or false", key)
        return False

    def section(self, key: str, keys: tuple[str, ...]) -> Section | None:
        if key not in self._values:
            return None
        return Section(self._values[key], (*self._path, key), keys, self._problems)

    def sections(self, key: str, keys: tuple[str, ...]) -> list[Section]:
        """A required list of mappings."""
        if key not in self._values:
            self.complain(f"{key} is missing; write it")
            return []
        return [
            Section(item, (*self._path, key, index), keys, self._problems)
            for index, item in enumerate(self._list(key))
        ]

    def _list(self, key: str) -> list[JsonValue]:
        value = self._values[key]
        if isinstance(value, list) and value:
            return value
        found = "an empty list" if isinstance(value, list) else _kind(value)
        self.complain(f"is {found}; write a list with at least one entry", key)
        return []

    def _text(self, value: JsonValue, check: Check, *keys: str | int) -> str:
        """The text with its white space collapsed, as CLIP's tokenizer does; "" if it is none."""
        if not isinstance(value, str):
            hint = "write a text" if value is None else "write a text, in quotes"
            self.complain(f"is {_kind(value)}; {hint}", *keys)
            return ""
        text = " ".join(value.split())
        if not text:
            self.complain("is an empty text; write one", *keys)
            return ""
        if (wrong := _unprintable(text) or too_long(text) or check(text)) is not None:
            self.complain(wrong, *keys)
        return text


def _kind(value: JsonValue) -> str:
    """What a value is, in the words of YAML."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {quoted(value)}"
        case list():
            return "a list"
        case dict():
            return "a mapping"


def quoted(text: str) -> str:
    """The text in quotes and short enough for one line."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def too_long(text: str, max_characters: int = MAX_TEXT_CHARACTERS) -> str | None:
    """What is wrong with the length of a text, if anything."""
    if len(text) <= max_characters:
        return None
    return (
        f"{quoted(text)} has {len(text)} characters, more than {max_characters}; "
        "write a shorter one"
    )


def _unprintable(text: str) -> str | None:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return f"{quoted(text)} has a control character; remove it"
    return None
