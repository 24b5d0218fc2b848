"""Backoff and the circuit breaker."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.retry import Breaker, BreakerPolicy, RetryPolicy, wait_s

RETRY = RetryPolicy(first_wait_s=0.5, longest_wait_s=4.0)
BREAKER = BreakerPolicy(failures=3, open_s=5.0)


def almost_one() -> float:
    return 1.0 - 2**-53


def doubtful_breaker(now: float = 0.0) -> Breaker:
    breaker = Breaker(BREAKER)
    for subject in "abc":
        permit = breaker.admit(now)
        assert permit is not None
        breaker.failed(permit, subject, now)
    return breaker


def opened_breaker(now: float = 0.0) -> Breaker:
    breaker = doubtful_breaker(now)
    breaker.trip(now)
    return breaker


@pytest.mark.parametrize(
    ("failures", "bound_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0), (10_000, 4.0)]
)
def test_the_bound_of_the_wait_doubles_up_to_its_limit(failures: int, bound_s: float) -> None:
    assert wait_s(failures, RETRY, almost_one) == pytest.approx(bound_s)


def test_the_wait_is_drawn_from_the_whole_range() -> None:
    assert wait_s(3, RETRY, lambda: 0.0) == 0.0
    assert wait_s(3, RETRY, lambda: 0.25) == 0.5


def test_a_longest_wait_below_the_first_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"longest_wait_s: is below first_wait_s"):
        RetryPolicy(first_wait_s=2.0, longest_wait_s=1.0)


def test_failures_of_enough_different_objects_bring_doubt_and_do_not_open_the_breaker() -> None:
    breaker = doubtful_breaker()
    assert breaker.doubtful
    assert breaker.closed()
    permit = breaker.admit(0.0)
    assert permit is not None
    breaker.succeeded(permit)
    assert not breaker.doubtful


def test_a_breaker_that_was_tripped_lets_nothing_through_for_a_while() -> None:
    breaker = opened_breaker(now=100.0)
    assert not breaker.closed()
    assert not breaker.doubtful
    assert breaker.admit(104.9) is None
    assert breaker.asks_in_s(104.0) == pytest.approx(1.0)


def test_one_object_that_keeps_failing_never_opens_it() -> None:
    breaker = Breaker(BREAKER)
    for _ in range(50):
        permit = breaker.admit(0.0)
        assert permit is not None
        breaker.failed(permit, "bad", 0.0)
    assert not breaker.doubtful


def test_an_answer_in_between_forgives_the_failures() -> None:
    breaker = Breaker(BREAKER)
    for subject in ["a", "b", None, "c", "d", None, "e", "f"]:
        permit = breaker.admit(0.0)
        assert permit is not None
        if subject is None:
            breaker.succeeded(permit)
        else:
            breaker.failed(permit, subject, 0.0)
    assert not breaker.doubtful


def test_one_attempt_goes_through_after_the_pause_and_closes_it_if_answered() -> None:
    breaker = opened_breaker(now=0.0)
    permit = breaker.admit(5.0)
    assert permit is not None
    assert not breaker.closed()
    assert breaker.admit(1000.0) is None
    breaker.succeeded(permit)
    assert breaker.closed()
    assert breaker.admit(1000.0) is not None


def test_a_failure_of_that_attempt_opens_it_for_another_pause() -> None:
    breaker = opened_breaker(now=0.0)
    permit = breaker.admit(7.0)
    assert permit is not None
    breaker.failed(permit, "a", 8.0)
    assert breaker.admit(12.9) is None
    assert breaker.admit(13.0) is not None


def test_an_abandoned_attempt_leaves_its_turn_to_the_next() -> None:
    breaker = opened_breaker(now=0.0)
    permit = breaker.admit(5.0)
    assert permit is not None
    breaker.abandoned(permit)
    assert breaker.asks_in_s(5.0) == 0.0
    assert breaker.admit(5.0) is not None


def test_attempts_begun_before_the_breaker_opened_say_nothing_about_now() -> None:
    breaker = Breaker(BREAKER)
    stale = breaker.admit(0.0)
    assert stale is not None
    for subject in "abc":
        breaker.failed(stale, subject, 0.0)
    breaker.trip(0.0)
    breaker.succeeded(stale)
    assert not breaker.closed()
    probe = breaker.admit(5.0)
    assert probe is not None
    breaker.failed(stale, "d", 6.0)
    breaker.succeeded(probe)
    assert breaker.closed()
    for subject in "abc":
        breaker.failed(stale, subject, 7.0)
    assert not breaker.doubtful
