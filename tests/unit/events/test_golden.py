"""Events are the same, byte for byte, and metrics keep their names, whatever moves in the code."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.events.types import EventType
from tests.golden import label_sets, run

AT_FIRST = "6f931b2c50ad6f092279e228ea9dea6a35400483fd292c1f06a4f60af8e236d4"
"""SHA-256 of ``events.json`` before events had a content id, headers of the decision and the URI of
an embedding's object, and before there were actions and removals."""

TOO_LARGE = ("4555 bytes are too many", "4453 bytes are too many")
"""A dead letter says how large the classification would have been, now and before."""

ADDED = re.compile(r"decision($|[.])|object[.]uri$")
CONTENT_ID_FIELD = re.compile(r',"content_id":"[0-9a-f]{32}"}$')


def test_a_worker_publishes_and_exposes_what_it_always_has() -> None:
    records, meter = run.published()
    events = run.events(records)
    expected = json.loads(run.EVENTS.read_text())
    for own, other in zip(events, expected, strict=False):
        assert own == other
    assert len(events) == len(expected)
    assert run.metrics(meter) == json.loads(run.METRICS.read_text())


def is_new(event: Any) -> bool:
    return dict(event["headers"])["ce_type"]["text"] in (EventType.ACTION, EventType.REMOVAL)


def test_content_ids_decisions_and_new_types_are_all_that_was_added_to_events() -> None:
    published = json.loads(run.EVENTS.read_text())
    events = [each for each in published if not is_new(each)]
    named = decided = 0
    for event in events:
        decided += any(name == "decision" for name, _ in event["headers"])
        event["headers"] = [each for each in event["headers"] if not ADDED.match(each[0])]
        for header in event["headers"]:
            if header[1].get("text") == TOO_LARGE[0]:
                header[1]["text"] = TOO_LARGE[1]
        last = event["headers"][-1]
        if last[0] == "content.id":
            named += 1
            event["headers"].pop()
        elif "text" in event["value"]:
            event["value"]["text"], found = CONTENT_ID_FIELD.subn("}", event["value"]["text"])
            named += found
    before = json.dumps(events, indent=1, ensure_ascii=False) + "\n"
    assert hashlib.sha256(before.encode()).hexdigest() == AT_FIRST
    topics = Counter(each["topic"] for each in events)
    assert named == topics["classifications"] + topics["embeddings"] > 0
    assert decided == topics["classifications"]
    assert len(published) > len(events)


def test_a_label_set_keeps_its_version_however_oddly_it_is_written(tmp_path: Path) -> None:
    assert label_sets.versions(tmp_path) == json.loads(
        label_sets.VERSIONS.read_text(encoding="utf-8")
    )
