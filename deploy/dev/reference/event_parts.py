"""Parts of the reference page of the events: a type's headers, a value's fields, an example."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deploy.dev.reference.markdown import table
from pipeline.events.headers import HEADERS
from pipeline.events.types import EventType
from pipeline.records import EventRecord, OutputRecord

SHOWN_BYTES = 16

Row = tuple[str, str, str]


def headers_of(event_type: EventType) -> str:
    rows = [
        (f"`{header.name}`", "always" if header.required else "optional", header.meaning)
        for header in HEADERS[event_type]
    ]
    return f"Type `{event_type}`.\n\n{table(('Header', 'Present', 'Meaning'), rows)}"


def fields_of(schema: Mapping[str, Any]) -> str:
    return table(("Field", "Type", "Meaning"), _rows(schema, schema.get("$defs", {}), ""))


def _rows(node: Mapping[str, Any], defs: Mapping[str, Any], prefix: str) -> Iterator[Row]:
    """One row a field, depth first, in the order of the code."""
    for name, field in node.get("properties", {}).items():
        path = prefix + name
        target, kind = _resolved(field, defs)
        if name not in node.get("required", ()):
            kind += ", optional"
        meaning = field.get("description", target.get("description", ""))
        yield f"`{path}`", kind, meaning
        if "items" in target:
            item, _ = _resolved(target["items"], defs)
            yield from _rows(item, defs, f"{path}[].")
        else:
            yield from _rows(target, defs, f"{path}.")


def _resolved(field: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """A field's own schema and its type in words."""
    if "$ref" in field:
        return _resolved(defs[field["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in field:
        return field, " or ".join(_resolved(option, defs)[1] for option in field["anyOf"])
    if "items" in field:
        return field, f"list of {_resolved(field['items'], defs)[1]}s"
    return field, str(field["type"])


def example_of(title: str, record: OutputRecord | EventRecord) -> str:
    lines = [f"key: {_text(record.key or b'')}"]
    lines += [f"{name}: {_text(value)}".rstrip() for name, value in record.headers]
    headers = dict(record.headers)
    if headers.get("content-type") == b"application/json":
        lines += ["", json.dumps(json.loads(record.value), indent=2, ensure_ascii=False)]
    elif "embedding.dtype" in headers:
        shown = record.value[:SHOWN_BYTES].hex(" ")
        lines += ["", f"{shown} … ({len(record.value):,} bytes)"]
    elif record.value:
        lines += ["", _text(record.value)]
    body = "\n".join(lines)
    return f"{title}:\n\n```text\n{body}\n```\n"


def _text(value: bytes) -> str:
    """The examples' own keys, headers and raw values are all text."""
    return value.decode()
