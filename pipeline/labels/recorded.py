"""Label sets as they were recorded: with the text of their file, and read back by their version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSet


@dataclass(frozen=True, slots=True)
class SourcedLabelSet:
    """A label set, and the text of the file that it was read from. ``weights`` is the content of
    the file with the weights of its head."""

    label_set: LabelSet
    text: str
    weights: bytes | None = None


def label_set_of(meaning: Mapping[str, object], version: str) -> LabelSet:
    """The label set whose ``canonical`` holds ``meaning``.

    The version proves that nothing was changed, and that this release understands all of it.

    Raises:
        Halt: ``label_set.unproven``: the meaning does not have this version, or not to this
            release.
    """
    try:
        found = _adapter().validate_json(json.dumps(meaning))
    except ValidationError as error:
        raise _unproven(version, f"{error.error_count()} of its values are not understood") from (
            error
        )
    if found.version != version:
        raise _unproven(version, f"the version of what is recorded is {found.version}")
    return found


def _unproven(version: str, why: str) -> Halt:
    return Halt(
        "label_set.unproven",
        f"label set {version}: {why}; it was altered, or written by a later release: give its file",
    )


@cache
def _adapter() -> TypeAdapter[LabelSet]:
    return TypeAdapter(LabelSet)
