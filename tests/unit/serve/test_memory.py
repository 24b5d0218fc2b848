"""Bytes that requests hold: bounded for all, and for each key."""

from __future__ import annotations

import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.metrics import HTTP_HELD_BYTES
from workers.serve.admission.memory import Hold, MemoryBudget
from workers.serve.errors import ApiError


def hold(budget: MemoryBudget, name: str) -> Hold:
    held = budget.hold()
    held.name = name
    return held


def test_all_requests_together_hold_no_more_than_the_bound() -> None:
    meter = MemoryMeter([HTTP_HELD_BYTES])
    budget = MemoryBudget(100, meter)
    one, other = hold(budget, "a"), hold(budget, "a")
    one.take(70)
    with pytest.raises(ApiError, match="holds 70 bytes of requests against a bound of 100") as told:
        other.take(31)
    assert told.value.status == 429
    other.take(30)
    assert meter.value(HTTP_HELD_BYTES) == budget.held_bytes == 100
    one.release(20)
    one.give_back()
    one.give_back()
    assert meter.value(HTTP_HELD_BYTES) == budget.held_bytes == 30


def test_a_key_that_fills_its_part_leaves_room_for_others() -> None:
    budget = MemoryBudget(100, MemoryMeter([HTTP_HELD_BYTES]), 0.75)
    greedy, more, other = hold(budget, "greedy"), hold(budget, "greedy"), hold(budget, "other")
    greedy.take(60)
    more.take(15)
    with pytest.raises(ApiError, match="holds 75 bytes of this key's requests against 75"):
        more.require(1)
    other.take(25)
    greedy.give_back()
    more.take(60)
