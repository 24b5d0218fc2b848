"""A key's rate: images a second, counted in two steps."""

from __future__ import annotations

import pytest

from pipeline.adapters.memory.clock import HandClock
from workers.serve.admission.rates import Rate, Rates
from workers.serve.errors import ApiError

RATE = Rate(images_per_s=2, burst=6)


def admitted(rates: Rates, times: int, name: str = "shop", rate: Rate = RATE) -> int:
    """How many of so many requests are admitted."""
    count = 0
    for _ in range(times):
        try:
            rates.admit(name, rate)
        except ApiError:
            continue
        count += 1
    return count


def test_a_burst_passes_at_once_and_then_the_rate() -> None:
    clock = HandClock()
    rates = Rates(clock)
    assert admitted(rates, 100) == 6
    clock.now += 10
    assert admitted(rates, 100) == 6, "no more than a burst is saved up"
    passed = 0
    for _ in range(50):
        clock.now += 0.1
        passed += admitted(rates, 3)
    assert passed == 10


def test_the_wait_that_is_told_suffices() -> None:
    clock = HandClock()
    rates = Rates(clock)
    admitted(rates, 6)
    with pytest.raises(ApiError) as refused:
        rates.admit("shop", RATE)
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    wait_s = refused.value.retry_after_s
    assert wait_s is not None
    clock.now += wait_s * 0.9
    assert admitted(rates, 1) == 0
    clock.now += wait_s * 0.1
    assert admitted(rates, 1) == 1


def test_images_beyond_the_first_may_put_a_key_one_burst_into_debt() -> None:
    clock = HandClock()
    rates = Rates(clock)
    admitted(rates, 6)  # nothing is left
    clock.now += 0.5
    rates.admit("shop", RATE)
    rates.charge("shop", RATE, 6)
    with pytest.raises(ApiError) as refused:
        rates.charge("shop", RATE, 1)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    clock.now += 3.4  # the debt of six images takes three seconds
    assert admitted(rates, 1) == 0
    clock.now += 0.1
    assert admitted(rates, 9) == 1


def test_a_refused_charge_costs_nothing() -> None:
    clock = HandClock()
    rates = Rates(clock)
    admitted(rates, 3)
    with pytest.raises(ApiError):
        rates.charge("shop", RATE, 1000)
    assert admitted(rates, 9) == 3


def test_a_key_that_rested_may_ask_for_any_number_and_pays_for_it() -> None:
    clock = HandClock()
    rates = Rates(clock)
    rates.admit("shop", RATE)
    rates.charge("shop", RATE, 63)
    clock.now += 28.9
    assert admitted(rates, 1) == 0
    clock.now += 0.7
    assert admitted(rates, 1) == 1


def test_each_name_has_a_balance_of_its_own() -> None:
    rates = Rates(HandClock())
    assert admitted(rates, 9, "shop") == 6
    assert admitted(rates, 9, "archive") == 6


def test_each_replica_grants_its_part() -> None:
    clock, replicas = HandClock(), [3]
    rates = Rates(clock, lambda: replicas[0])
    assert admitted(rates, 9) == 2
    clock.now += 3
    assert admitted(rates, 9) == 2
    clock.now += 1.5
    assert admitted(rates, 9) == 1
    replicas[0] = 0  # as Ray Serve may say while it starts
    clock.now += 100
    assert admitted(rates, 9) == 6


def test_the_balance_is_told_in_openais_headers() -> None:
    clock = HandClock()
    rates = Rates(clock)
    assert dict(rates.headers("shop", RATE))[b"x-ratelimit-remaining-requests"] == b"6"
    admitted(rates, 4)
    clock.now += 0.5
    assert dict(rates.headers("shop", RATE)) == {
        b"x-ratelimit-limit-requests": b"6",
        b"x-ratelimit-remaining-requests": b"3",
        b"x-ratelimit-reset-requests": b"1.500s",
    }
    rates.charge("shop", RATE, 9)
    assert dict(rates.headers("shop", RATE))[b"x-ratelimit-remaining-requests"] == b"0"
