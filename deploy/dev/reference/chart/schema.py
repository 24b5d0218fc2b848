"""values.schema.json: what Helm refuses before it renders anything. Closed at every level, but for
objects that are passed to Kubernetes as they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from deploy.dev.reference.chart.values import TYPES, Value, read, type_of
from workers.settings.loading import Settings

NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$"}
"""Name of an entry: part of names of objects, which may have 63 characters in all."""


def render() -> str:
    """The file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """The schema of the values."""
    values = read()
    settings, parts = _settings()
    root = _section(values, "")
    return {
        # Draft 7, which every release of Helm reads.
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart clipstream",
        **root,
        "$defs": {
            "settings": settings,
            **{
                _entry(value.items): _section(values, f"{value.items}.", named=True)
                for value in values.values()
                if value.items
            },
            **parts,
        },
    }


def _section(values: Mapping[str, Value], prefix: str, *, named: bool = False) -> dict[str, Any]:
    """A mapping of which all keys are known. ``named``: an entry of a list, with a name."""
    own = {
        path.removeprefix(prefix): value
        for path, value in values.items()
        if path.startswith(prefix) and "." not in path.removeprefix(prefix)
    }
    properties = {name: _property(values, value) for name, value in own.items()}
    required = {"required": ["name"]} if named else {}
    return {
        "type": "object",
        "additionalProperties": False,
        **required,
        "properties": ({"name": NAME} if named else {}) | properties,
    }


def _property(values: Mapping[str, Value], value: Value) -> dict[str, Any]:
    if value.section:
        shape: dict[str, Any] = _section(values, f"{value.path}.")
    elif value.items:
        shape = {"type": "array", "items": {"$ref": f"#/$defs/{_entry(value.items)}"}}
    elif value.type:
        shape = dict(TYPES[value.type])
    else:
        shape = {"type": type_of(value.default), **value.keywords}
    return {"description": value.description} | shape if value.description else shape


def _entry(section: str) -> str:
    """Name of the definition of entries with the keys of a section."""
    return f"entry.of.{section}"


def _settings() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of the settings without secrets, and its definitions."""
    schema = Settings.model_json_schema()
    parts = schema.pop("$defs")
    for part in (schema, *parts.values()):
        properties = part.get("properties", {})
        for name in [name for name, each in properties.items() if _is_secret(each)]:
            del properties[name]
    # The chart itself says where the driver's pod is.
    own = schema["properties"].pop("kubernetes")
    del parts[own["$ref"].rpartition("/")[2]]
    return _plain(schema), {name: _plain(part) for name, part in parts.items()}


def _is_secret(schema: Mapping[str, Any]) -> bool:
    return any(each.get("writeOnly") for each in (schema, *schema.get("anyOf", ())))


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Without what no reader of the file needs: titles, and defaults, which the product has."""
    plain = copy.deepcopy(dict(schema))
    plain.pop("title", None)
    for each in plain.get("properties", {}).values():
        each.pop("title", None)
        each.pop("default", None)
    return plain
