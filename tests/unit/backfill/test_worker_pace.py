"""How long rows take, by the rate of the last minute."""

from __future__ import annotations

import math

import pytest

from workers.backfill.pace import Pace


def test_nothing_is_known_at_first() -> None:
    pace = Pace()
    pace.note(100.0, 0)
    assert pace.seconds_for(1) == math.inf
    assert pace.seconds_for(0) == 0.0
    pace.note(110.0, 0)
    assert pace.seconds_for(1) == math.inf


def test_rows_take_as_long_as_others_took_lately() -> None:
    pace = Pace()
    for tick in range(200):
        pace.note(tick / 10, tick)
    assert pace.seconds_for(100) == pytest.approx(10.0, rel=0.01)


def test_what_was_long_ago_does_not_count() -> None:
    pace = Pace()
    for second in range(100):
        pace.note(float(second), 1000 * second)
    rows = 99_000
    for second in range(100, 300):
        rows += 1
        pace.note(float(second), rows)
    assert pace.seconds_for(10) == pytest.approx(10.0, rel=0.05)


def test_memory_does_not_grow_with_time() -> None:
    pace = Pace()
    for tick in range(100_000):
        pace.note(tick / 10, tick)
    assert len(pace._noted) < 100
