"""The example of a recorded label set, for the reference page of events."""

from __future__ import annotations

import json

from pipeline.adapters.yaml_lines import read_yaml
from pipeline.events.label_sets import label_set_record
from pipeline.events.parts import model_value
from pipeline.labels.parsing import parse_label_set
from pipeline.records import EventRecord, ModelIdentity

_TEXT = """\
name: animals
decision: exclusive
actions: [keep, review, drop]
default_action: drop
act_action: keep
templates: ["a photo of {}"]
labels:
  - {name: cat, phrases: [a cat], act_threshold: 0.9}
  - {name: neither, prompts: [a photo], neutral: true}
"""


def example(model: ModelIdentity) -> EventRecord:
    """The record of a small label set, first used with ``model``."""
    label_set = parse_label_set(read_yaml(_TEXT).data)
    return label_set_record(
        {
            "name": label_set.name,
            "version": label_set.version,
            "meaning": json.loads(label_set.canonical),
            "text": _TEXT,
            "first_seen": "2026-01-01T00:00:00.000Z",
            "model": model_value(model),
            "clipstream_version": "0.1.0",
        }
    )
