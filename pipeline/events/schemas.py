"""The published JSON Schemas, generated from the values and the headers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from pipeline.events.header import TYPE
from pipeline.events.headers import HEADERS
from pipeline.events.types import EventType
from pipeline.events.values.actions import ActionValue, RemovalValue, ReviewValue
from pipeline.events.values.dead_references import DeadReferenceValue, DeadReferenceValueV2
from pipeline.events.values.label_sets import LABEL_SET_SCHEMA, LabelSetValue
from pipeline.events.values.outcomes import (
    BackfillClassificationValue,
    ClassificationValue,
    ClassificationValueV2,
)
from pipeline.events.values.served import (
    ServedErrorValue,
    ServedImageValue,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_id(name: str) -> str:
    """The ``$id`` of a published schema. It is a name, not an address."""
    kind, _, version = name.rpartition(".")
    return f"urn:clipstream:schema:{kind}:{version}"


CLASSIFICATION_SCHEMA = "classification.v1"
CLASSIFICATION_SCHEMA_V2 = "classification.v2"
DEAD_LETTER_SCHEMA = "dead-letter.v1"
DEAD_LETTER_SCHEMA_V2 = "dead-letter.v2"
SERVED_IMAGE_SCHEMA = "served-image.v1"
SERVED_ERROR_SCHEMA = "served-error.v1"
BACKFILL_CLASSIFICATION_SCHEMA = "backfill-classification.v1"
BACKFILL_DEAD_LETTER_SCHEMA = "backfill-dead-letter.v1"
ACTION_SCHEMA = "action.v1"
REVIEW_SCHEMA = "review.v1"
REMOVAL_SCHEMA = "removal.v1"


_DEAD_ROW = """\
A row that could not be classified: the value of a `clipstream.backfill-dead-letter.v1` event whose
header `dlq.payload` is `reference`.

The value is in the native input format, so it can be published to an input topic unchanged. Unknown
fields are left out."""


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title made from the field's name adds nothing


def _value_schema(name: str, value: Any) -> dict[str, Any]:
    body = TypeAdapter(value).json_schema(schema_generator=_Generator)
    return {"$schema": DIALECT, "$id": schema_id(name), **body, "title": f"Value of {name}"}


def _headers_schema(name: str, event_type: EventType) -> dict[str, Any]:
    headers = HEADERS[event_type]
    properties = {}
    for header in headers:
        properties[header.name] = {"description": header.meaning, "type": "string"}
        if header.pattern is not None:
            properties[header.name]["pattern"] = header.pattern
    properties[TYPE.name]["const"] = str(event_type)
    return {
        "$schema": DIALECT,
        "$id": schema_id(name),
        "title": f"Headers of {event_type.removeprefix('clipstream.')}",
        "description": f"Record headers of a `{event_type}` event, as UTF-8 text by name.",
        "type": "object",
        "properties": properties,
        "required": [header.name for header in headers if header.required],
    }


@cache
def schemas() -> Mapping[str, dict[str, Any]]:
    """The published JSON Schemas by name. Each is in ``docs/schemas/<name>.json``. They are made
    once, so whoever changes one changes a copy."""
    documents = {
        CLASSIFICATION_SCHEMA: _value_schema(CLASSIFICATION_SCHEMA, ClassificationValue),
        DEAD_LETTER_SCHEMA: _value_schema(DEAD_LETTER_SCHEMA, DeadReferenceValue),
        CLASSIFICATION_SCHEMA_V2: _value_schema(CLASSIFICATION_SCHEMA_V2, ClassificationValueV2),
        DEAD_LETTER_SCHEMA_V2: _value_schema(DEAD_LETTER_SCHEMA_V2, DeadReferenceValueV2),
        SERVED_IMAGE_SCHEMA: _value_schema(SERVED_IMAGE_SCHEMA, ServedImageValue),
        SERVED_ERROR_SCHEMA: _value_schema(SERVED_ERROR_SCHEMA, ServedErrorValue),
        BACKFILL_CLASSIFICATION_SCHEMA: _value_schema(
            BACKFILL_CLASSIFICATION_SCHEMA, BackfillClassificationValue
        ),
        BACKFILL_DEAD_LETTER_SCHEMA: {
            **_value_schema(BACKFILL_DEAD_LETTER_SCHEMA, DeadReferenceValue),
            "description": _DEAD_ROW,
        },
        ACTION_SCHEMA: _value_schema(ACTION_SCHEMA, ActionValue),
        REVIEW_SCHEMA: _value_schema(REVIEW_SCHEMA, ReviewValue),
        REMOVAL_SCHEMA: _value_schema(REMOVAL_SCHEMA, RemovalValue),
        LABEL_SET_SCHEMA: _value_schema(LABEL_SET_SCHEMA, LabelSetValue),
    }
    for event_type in EventType:
        kind, _, version = event_type.removeprefix("clipstream.").rpartition(".")
        name = f"{kind}-headers.{version}"
        documents[name] = _headers_schema(name, event_type)
    return documents
