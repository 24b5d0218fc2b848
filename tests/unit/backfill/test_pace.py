"""The rate of a job, and the time that it will take."""

from __future__ import annotations

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.backfill.running.pace import Pace


class Driven:
    """A job that goes at the rates that a test names, looked at every second."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.pace = Pace(self.clock)
        self.rows = 0.0

    def go(self, rate: float, seconds: int, *, running: bool = True) -> None:
        for _ in range(seconds):
            self.clock.now += 1
            self.rows += rate
            self.pace.see(int(self.rows), int(self.rows) * 1000, running=running)


def test_a_steady_rate_gives_a_narrow_range() -> None:
    job = Driven()
    job.go(50, 600)
    assert job.pace.rate == pytest.approx(50, rel=0.03)
    assert job.pace.byte_rate == pytest.approx(50_000, rel=0.03)
    left = job.pace.left(50_000)
    assert left is not None
    assert (left.soonest, left.likely, left.latest) == pytest.approx((1000,) * 3, rel=0.03)


def test_an_uneven_rate_gives_a_range_from_good_to_bad_minutes() -> None:
    job = Driven()
    for _ in range(8):
        job.go(20, 60)
        job.go(80, 60)
    left = job.pace.left(50_000)
    assert left is not None
    assert left.soonest < 50_000 / 70
    assert left.latest > 50_000 / 30
    assert left.soonest < left.likely < left.latest


def test_the_rate_is_that_of_the_last_minutes() -> None:
    job = Driven()
    job.go(10, 1200)
    job.go(100, 360)
    assert job.pace.rate == pytest.approx(100, rel=0.03)


def test_the_time_is_unknown_until_a_minute_has_been_measured() -> None:
    job = Driven()
    job.go(50, 30)
    assert job.pace.left(1000) is None
    assert job.pace.rate == pytest.approx(50, rel=0.1)


def test_neither_a_start_nor_a_pause_counts_as_slow() -> None:
    job = Driven()
    job.go(0, 300)
    job.go(50, 300)
    job.go(0, 3000, running=False)
    job.go(50, 120)
    assert job.pace.rate == pytest.approx(50, rel=0.05)


def test_a_standstill_has_no_end() -> None:
    job = Driven()
    job.go(50, 120)
    job.go(0, 400)
    assert job.pace.rate == 0
    assert job.pace.left(1000) is None
