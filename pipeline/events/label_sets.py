"""Makes the record of a label set, and reads it back: what past images were scored with."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from pipeline.complaints import first_said
from pipeline.errors import Halt
from pipeline.events.envelope import named_id, own_attributes, text
from pipeline.events.parts import as_json, json_content
from pipeline.events.types import EventType
from pipeline.events.values.label_sets import LABEL_SET_SCHEMA, LabelSetValue
from pipeline.records import EventRecord

SOURCE = b"/clipstream/label-sets"

_value = TypeAdapter(LabelSetValue)


def label_set_record(value: LabelSetValue) -> EventRecord:
    """The record of one version. Its key is the version, so compaction keeps one of each."""
    kind, version = EventType.LABEL_SET, value["version"]
    headers = (
        *own_attributes(kind, SOURCE, named_id(version, kind), value["name"]),
        ("ce_time", text(value["first_seen"])),
        *json_content(LABEL_SET_SCHEMA),
    )
    return EventRecord(text(version), as_json(value), headers)


def read_label_set(value: bytes, where: str) -> LabelSetValue:
    """A record's value. ``where`` is the record's place, for the message.

    Raises:
        Halt: ``label_set.unproven``: this is the record of no label set.
    """
    try:
        return _value.validate_json(value)
    except ValidationError as error:
        raise Halt(
            "label_set.unproven",
            f"{where}: is no record of a label set ({first_said(error, 'value')}); give its file",
        ) from error
