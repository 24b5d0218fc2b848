"""Waits between attempts, on a simulated clock."""

from __future__ import annotations

import random

from pipeline.adapters.memory.clock import HandClock
from pipeline.retry import RetryPolicy
from workers.backoff import BROKER, Backoff

POLICY = RetryPolicy(first_wait_s=1.0, longest_wait_s=8.0)


class Longest(random.Random):
    """Draws the longest wait that the bound allows."""

    def random(self) -> float:
        return 1.0


def test_the_first_attempt_is_due_at_once() -> None:
    assert Backoff(HandClock(now=0.0), random.Random(0)).due()


def test_after_a_failure_nothing_is_due_until_its_wait_is_over() -> None:
    clock = HandClock()
    backoff = Backoff(clock, Longest(), POLICY)
    assert backoff.failed() == 1.0
    clock.now += 0.999
    assert not backoff.due()
    clock.now += 0.001
    assert backoff.due()


def test_waits_double_with_every_failure_in_a_row_up_to_the_longest() -> None:
    backoff = Backoff(HandClock(), Longest(), POLICY)
    assert [backoff.failed() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_success_forgets_the_failures() -> None:
    backoff = Backoff(HandClock(), Longest(), POLICY)
    for _ in range(5):
        backoff.failed()
    backoff.succeeded()
    assert backoff.due()
    assert backoff.failed() == 1.0


def test_waits_are_spread_over_the_whole_bound() -> None:
    waits = []
    for seed in range(200):
        backoff = Backoff(HandClock(), random.Random(seed), POLICY)
        backoff.failed()
        waits.append(backoff.failed())
    assert min(waits) < 0.2
    assert max(waits) > 1.8
    assert all(0 <= wait <= 2.0 for wait in waits)


def test_a_broker_is_asked_again_within_ten_seconds_however_long_it_is_away() -> None:
    backoff = Backoff(HandClock(), Longest(), BROKER)
    assert max(backoff.failed() for _ in range(1000)) == 10.0
