"""The values of the chart: each key of values.yaml with its default, its comment, and its type.

The comment above a key describes it. Lines of the comment that begin with ``@`` say what the
default alone does not:

- ``@type NAME`` is a shape of ``TYPES``;
- ``@schema {...}`` adds keywords of JSON Schema to what follows from the default;
- ``@items PATH`` is a list whose entries have the keys of the section at PATH, and a ``name``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[4]
VALUES = ROOT / "helm/clipstream/values.yaml"

TEXT = {"type": "string"}
OBJECT = {"type": "object"}

QUANTITIES = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number"]},
}

TYPES: Mapping[str, Mapping[str, Any]] = {
    "map of texts": {"type": "object", "additionalProperties": TEXT},
    "list of texts": {"type": "array", "items": TEXT},
    "settings": {"$ref": "#/$defs/settings"},
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"requests": QUANTITIES, "limits": QUANTITIES},
    },
    "variables": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {"name": TEXT, "value": TEXT, "valueFrom": OBJECT},
        },
    },
    # The API server checks what is inside, by its own schema.
    "kubernetes object": OBJECT,
    "list of objects": {"type": "array", "items": OBJECT},
}


@dataclass(frozen=True, slots=True)
class Value:
    """One key. ``type`` and ``items`` are of its comment, or empty; ``keywords`` too."""

    path: str
    default: Any
    description: str
    type: str
    items: str
    keywords: Mapping[str, Any]
    section: bool
    """Whether other keys of values.yaml are below it."""


def read(path: Path = VALUES) -> dict[str, Value]:
    """Every key by its dotted path, in the order of the file.

    Raises:
        ValueError: a key has no description, or its shape cannot be known.
    """
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise TypeError(f"{path}: is no mapping")
    return {value.path: value for value in _keys(root, "", text.splitlines())}


def type_of(default: Any) -> str:
    """The type of a default, as JSON Schema calls it."""
    return _TYPES_OF_PYTHON[type(default)]


_TYPES_OF_PYTHON = {
    bool: "boolean",
    int: "integer",
    str: "string",
    dict: "object",
    list: "array",
    type(None): "null",
}


def _keys(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, child in node.value:
        path = f"{prefix}{key.value}"
        comment = _comment(lines, key.start_mark.line)
        told = [line.removeprefix("@") for line in comment if line.startswith("@")]
        marks = dict(line.split(" ", 1) for line in told)
        type_, items = marks.get("type", ""), marks.get("items", "")
        default = yaml.safe_load(yaml.serialize(child))
        section = isinstance(child, yaml.MappingNode) and bool(child.value) and not type_
        keywords = yaml.safe_load(marks.get("schema", "{}"))
        section = section and "type" not in keywords
        description = " ".join(line for line in comment if not line.startswith("@"))
        value = Value(path, default, description, type_, items, keywords, section)
        _check(value)
        yield value
        if section:
            yield from _keys(child, f"{path}.", lines)


def _comment(lines: list[str], line: int) -> list[str]:
    """The lines of the comment that stands directly above a line."""
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return [each.strip().removeprefix("#").strip() for each in lines[first:line]]


def _check(value: Value) -> None:
    if not value.section and not value.description:
        raise ValueError(f"values.yaml: {value.path}: write a comment above it")
    if value.type and value.type not in TYPES:
        raise ValueError(f"values.yaml: {value.path}: there is no type {value.type}")
    known = value.section or value.type or value.items or value.keywords.get("type")
    if isinstance(value.default, (dict, list, type(None))) and not known:
        raise ValueError(f"values.yaml: {value.path}: say its @type, because it is empty")
