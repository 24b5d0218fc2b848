"""Reads the fields of a JSON object. Every complaint names the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import complaints
from pipeline.errors import Reject
from pipeline.records import JsonValue

_IN_JSON = {**complaints.IN_YAML, type(None): "null", str: "a string", dict: "an object"}
"""Words for whoever sends records."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object and its place in the record: ``Records[0].s3``, or empty for the outermost.

    A null field counts as absent, which is what most serialisers mean by it.
    """

    value: Mapping[str, JsonValue]
    where: str

    @classmethod
    def of(cls, value: JsonValue, where: str) -> Fields:
        """Take a value that must be an object.

        Raises:
            Reject: ``reference.invalid`` if the type is wrong, like every method that reads.
        """
        if not isinstance(value, dict):
            raise invalid(where, f"is {kind(value)}; send an object")
        return cls(value, where)

    def place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def get(self, name: str) -> JsonValue:
        return self.value.get(name)

    def object(self, name: str) -> Fields:
        return Fields.of(self._required(name), self.place(name))

    def text(self, name: str) -> str:
        return self._text(name, self._required(name))

    def optional_text(self, name: str) -> str | None:
        value = self.get(name)
        return None if value is None else self._text(name, value)

    def optional_object(self, name: str) -> Fields:
        """The object, or an empty one if the field is absent."""
        return Fields({}, self.place(name)) if self.get(name) is None else self.object(name)

    def any_text(self, name: str) -> str | None:
        """The text, or None for anything else: for what a message may get wrong without harm."""
        value = self.get(name)
        return value if isinstance(value, str) else None

    def _required(self, name: str) -> JsonValue:
        value = self.get(name)
        if value is None:
            raise invalid(self.place(name), "is missing; send it")
        return value

    def _text(self, name: str, value: JsonValue) -> str:
        if not isinstance(value, str):
            raise invalid(self.place(name), f"is {kind(value)}; send a string")
        return value


def kind(value: JsonValue) -> str:
    """A JSON value's type, for people."""
    return complaints.kind(value, _IN_JSON)


def invalid(where: str, what: str) -> Reject:
    return Reject("reference.invalid", f"{where or 'the reference'}: {what}")


def unknown_format(where: str, what: str) -> Reject:
    return Reject("reference.unknown_format", f"{where}: {what}")


def unknown_event(where: str, name: str) -> Reject:
    """Refuse an event of an unknown name. It may bring new bytes, so it is never skipped."""
    return unknown_format(
        where,
        f"{name[:60]!r} is not the name of a known event; send only events of uploads here, or "
        "compare the name with docs/input-formats.md",
    )
