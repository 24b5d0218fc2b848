"""Changes thresholds in the text of a label set, and nothing else: comments and layout stay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from pipeline.labels.label_set import ModelPin

Edit = tuple[int, int, str]
"""Characters from the first place up to the second give way to a text."""


def with_thresholds(
    text: str, scores: Mapping[str, Mapping[str, float]], model: ModelPin, note: str
) -> str:
    """The text of a valid label set with other thresholds.

    ``scores`` has the thresholds of labels by name and key, ``act_threshold`` or
    ``review_threshold``. A key that is not written is added below the label's name. ``model``
    becomes the set's pin. ``note`` becomes a comment at the top.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[Edit] = [(0, 0, "".join(f"# {line}\n" for line in note.splitlines()) + "\n")]
    edits += _pin(text, root, model)
    for label in _value(root, "labels").value:
        name = " ".join(_value(label, "name").value.split())
        for key, score in scores.get(name, {}).items():
            # Positional: YAML 1.1 reads 1e-05 as a text.
            number = np.format_float_positional(score, trim="0")
            if (written := _value(label, key)) is not None:
                edits.append((*_span(written), number))
            else:
                edits.append(_added(text, label, "name", f"{key}: {number}"))
    # The last one first, so that places before it stay right.
    for start, end, replacement in sorted(edits, key=lambda edit: -edit[0]):
        text = text[:start] + replacement + text[end:]
    return text


def _pin(text: str, root: Any, model: ModelPin) -> list[Edit]:
    pin = _value(root, "model")
    values = {"name": json.dumps(model.name), "revision": json.dumps(model.revision)}
    if pin is not None:
        return [(*_span(_value(pin, key)), value) for key, value in values.items()]
    written = ", ".join(f"{key}: {value}" for key, value in values.items())
    return [_added(text, root, "name", f"model: {{{written}}}")]


def _added(text: str, mapping: Any, after: str, entry: str) -> Edit:
    """An entry behind that of the key ``after``: on a line of its own, unless the mapping is
    written in braces."""
    key, value = next(pair for pair in mapping.value if pair[0].value == after)
    end = value.end_mark.index
    if mapping.flow_style:
        return end, end, f", {entry}"
    line_end = text.find("\n", end)
    place = len(text) if line_end < 0 else line_end
    return place, place, f"\n{' ' * key.start_mark.column}{entry}"


def _value(mapping: Any, key: str) -> Any:
    """The node of a key's value, or None."""
    return next((value for name, value in mapping.value if name.value == key), None)


def _span(node: Any) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index
