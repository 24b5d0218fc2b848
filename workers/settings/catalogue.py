"""The catalogue of settings: each setting with its type, bounds and default, in words."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.policy import Policy, Tier

ENVIRONMENT_PREFIX = "CLIPSTREAM_"

UNITS = {"_s": "seconds", "_bytes": "bytes", "_mib": "MiB", "_megapixels": "millions of pixels"}
"""Units by the ends of settings' names."""

ONE = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    SecretStr: "a secret text",
    Path: "a path",
    datetime: "an RFC 3339 time with its zone",
    type(None): "null",
}
MANY = {str: "texts", Path: "paths"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``[]`` in ``path`` stands for every entry of a list.

    ``structured`` values are lists and mappings, which are JSON in the environment. ``nullable``
    values may be null.
    """

    path: str
    type: str
    bounds: str
    default: Any
    description: str
    structured: bool
    nullable: bool
    secret: bool
    tier: Tier

    @property
    def variable(self) -> str | None:
        """The environment variable that sets it. None inside a list, because a list is set as a
        whole."""
        return None if "[]" in self.path else variable_of(self.path)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Settings by path, and descriptions of their sections, both in the order of the policies."""

    settings: dict[str, Setting] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: type[Policy]) -> Catalogue:
        catalogue = cls()
        catalogue._add(model, "")
        return catalogue

    def within(self, section: str) -> Iterator[Setting]:
        """The section's own settings, without those of nested sections."""
        for path, setting in self.settings.items():
            if path.rpartition(".")[0] == section:
                yield setting

    def _add(self, model: type[Policy], prefix: str) -> None:
        for name, info in model.model_fields.items():
            path = f"{prefix}{name}"
            if _is_model(info.annotation):
                self.sections[path] = _about(info.annotation)
                self._add(info.annotation, f"{path}.")
                continue
            own = (each for each in info.metadata if isinstance(each, Tier))
            tier = next(own, None) or getattr(model, "tier", None)
            if tier is None:
                raise TypeError(f"{path} has no tier; write `tier = Tier.…` in {model.__name__}")
            self.settings[path] = _setting(path, info, tier)
            for entry in filter(_is_model, get_args(info.annotation)):
                self.sections[f"{path}[]"] = _about(entry)
                self._add(entry, f"{path}[].")


def variable_of(path: str) -> str:
    """The environment variable of a dotted path."""
    return ENVIRONMENT_PREFIX + path.upper().replace(".", "__")


def _is_model(annotation: Any) -> TypeGuard[type[Policy]]:
    return isinstance(annotation, type) and issubclass(annotation, Policy)


def _about(model: type[Policy]) -> str:
    return " ".join((model.__doc__ or "").split())


def _setting(path: str, info: FieldInfo, tier: Tier) -> Setting:
    annotation = info.annotation
    union = get_origin(annotation) in (Union, types.UnionType)
    choices = get_args(annotation) if union else (annotation,)
    unit = next((unit for end, unit in UNITS.items() if path.endswith(end)), "")
    return Setting(
        path,
        " or ".join(_one(choice, unit) for choice in choices),
        ", ".join(_bounds(info)),
        info.get_default(call_default_factory=True),
        info.description or "",
        structured=any(get_origin(choice) in (tuple, dict) for choice in choices),
        nullable=type(None) in choices,
        secret=SecretStr in choices,
        tier=tier,
    )


def _one(annotation: Any, unit: str) -> str:
    """One value of a type, in an operator's words."""
    if get_origin(annotation) is Literal:
        return _literals(annotation)
    if get_origin(annotation) is tuple:
        return f"a list of {_many(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        of, to = map(_many, get_args(annotation))
        return f"a mapping of {of} to {to}"
    counted = f" of {unit}" if unit and annotation in (int, float) else ""
    return ONE[annotation] + counted


def _many(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return _literals(annotation)
    return "mappings" if _is_model(annotation) else MANY[annotation]


def _literals(annotation: Any) -> str:
    *words, last = (f"`{word}`" for word in get_args(annotation))
    return f"{', '.join(words)} or {last}" if words else last


def _bounds(info: FieldInfo) -> Iterator[str]:
    for bound in info.metadata:
        for name, words in (("gt", "above {}"), ("ge", "at least {}"), ("le", "at most {}")):
            if (limit := getattr(bound, name, None)) is not None:
                yield words.format(_number(limit))
        if (shortest := getattr(bound, "min_length", None)) is not None:
            yield "not empty" if shortest == 1 else f"of {shortest} or more"
        if (pattern := getattr(bound, "pattern", None)) is not None:
            yield f"matching `{pattern}`"


def _number(limit: float) -> str:
    return f"{int(limit) if limit == int(limit) else limit:,}"
