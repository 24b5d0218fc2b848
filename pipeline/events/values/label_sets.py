"""The value of a recorded label set's event."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

from pipeline.events.values.outcomes import ModelValue, Timestamp, described

LABEL_SET_SCHEMA = "label-set.v1"


@described
class LabelSetValue(TypedDict):
    """One version of a label set: the value of a `clipstream.label-set.v1` event."""

    name: str
    """Name of the label set."""
    version: str
    """Version of the label set, as events name it: `sha256:` and the SHA-256 of `meaning`, written
    as JSON in ASCII, with sorted keys and without spaces."""
    meaning: dict[str, Any]
    """What the label set means: templates filled, defaults applied. Each of `labels` has its
    `prompts`, `contrast`, `act` and `review`."""
    text: str
    """The file that the label set was read from, with its comments."""
    weights: NotRequired[str]
    """Safetensors file of the label set's head, in base64. Absent if there is no head, or if the
    file has more than 256 KiB: `meaning` names its SHA-256."""
    first_seen: Timestamp
    """When the version was about to be used for the first time, RFC 3339 in UTC."""
    model: ModelValue
    """The model that the version was first used with."""
    clipstream_version: str
    """Version of Clipstream that wrote the event."""
