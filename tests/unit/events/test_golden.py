"""Events are the same, byte for byte, and metrics keep their names, whatever moves in the code."""

from __future__ import annotations

import json
from pathlib import Path

from tests.golden import label_sets, run


def test_a_worker_publishes_and_exposes_what_it_always_has() -> None:
    records, meter = run.published()
    events = run.events(records)
    expected = json.loads(run.EVENTS.read_text())
    for own, other in zip(events, expected, strict=False):
        assert own == other
    assert len(events) == len(expected)
    assert run.metrics(meter) == json.loads(run.METRICS.read_text())


def test_a_label_set_keeps_its_version_however_oddly_it_is_written(tmp_path: Path) -> None:
    assert label_sets.versions(tmp_path) == json.loads(
        label_sets.VERSIONS.read_text(encoding="utf-8")
    )
