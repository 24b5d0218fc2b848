"""When a job gives places to a stream, and when it takes them again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.memory.clock import HandClock
from pipeline.backfill.running.giving import QUIET_S, STEP_S, Giving


class Asked:
    def __init__(self, places: int, above: int = 100) -> None:
        self.clock = HandClock()
        self.places = places
        self.giving = Giving(above, self.clock)

    def lag(self, lag: int | None, seconds: float = 0.0) -> int:
        """The places that the job may have ``seconds`` later, under a lag that stays."""
        allowed = self.giving.allowed(lag, self.places)
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 5.0
            allowed = self.giving.allowed(lag, self.places)
        return allowed


def test_half_is_given_at_once_and_half_of_the_rest_while_the_lag_stays() -> None:
    asked = Asked(8)
    assert asked.lag(101) == 4
    assert asked.lag(101, STEP_S - 5) == 4
    assert asked.lag(101, 5) == 2
    assert asked.lag(101, 2 * STEP_S) == 0


def test_the_only_place_is_given_at_once() -> None:
    assert Asked(1).lag(101) == 0


def test_no_more_is_given_while_the_lag_falls() -> None:
    asked = Asked(8)
    lag = 10_000
    assert asked.lag(lag) == 4
    while lag > 200:
        lag -= 100
        assert asked.lag(lag, 5) == 4


def test_lag_below_the_bound_gives_nothing() -> None:
    assert Asked(8).lag(100, 3600) == 8


def test_places_come_back_one_then_twice_as_many_after_each_quiet_time() -> None:
    asked = Asked(8)
    asked.lag(500, 4 * STEP_S)
    assert asked.lag(10, QUIET_S - 5) == 0
    assert asked.lag(10, 5) == 1
    assert asked.lag(10, QUIET_S) == 2
    assert asked.lag(10, QUIET_S) == 4
    assert asked.lag(10, QUIET_S) == 8


def test_a_lag_between_both_bounds_moves_nothing() -> None:
    asked = Asked(8)
    asked.lag(500)
    assert asked.lag(51, 3600) == 4


def test_an_unknown_lag_moves_nothing_and_is_no_quiet_time() -> None:
    asked = Asked(8)
    asked.lag(500)
    assert asked.lag(None, 3600) == 4
    asked.lag(10, QUIET_S - 5)
    asked.lag(None)
    assert asked.lag(10, QUIET_S - 5) == 4


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.none() | st.integers(0, 300), st.integers(1, 40)), max_size=60),
)
def test_whatever_the_lag_does_the_job_keeps_between_none_and_all_of_its_places(
    places: int, lags: list[tuple[int | None, int]]
) -> None:
    asked = Asked(places)
    for lag, steps in lags:
        assert 0 <= asked.lag(lag, 5.0 * steps) <= places
    assert asked.lag(0, 8 * QUIET_S) == places
