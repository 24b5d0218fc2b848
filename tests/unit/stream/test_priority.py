"""Who goes first, and that nobody starves who should not."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.priority import PriorityPolicy, PriorityQueue, Turns


def queue_of(*levels: int, min_share: float = 0.0) -> PriorityQueue[int]:
    """Items are their levels."""
    queue: PriorityQueue[int] = PriorityQueue(min_share)
    for level in levels:
        queue.push(level, level)
    return queue


def drained(queue: PriorityQueue[int]) -> list[int]:
    return [queue.pop() for _ in range(len(queue))]


def test_a_lower_level_waits_for_the_higher_ones() -> None:
    assert drained(queue_of(1, 2, 0, 1, 0)) == [0, 0, 1, 1, 2]


def test_within_a_level_the_first_to_come_is_the_first_to_go() -> None:
    queue: PriorityQueue[str] = PriorityQueue()
    for item in "abc":
        queue.push(item, 1)
    assert [queue.pop() for _ in range(3)] == ["a", "b", "c"]


def test_a_lower_level_gets_its_share_while_it_waits() -> None:
    queue = queue_of(*[0] * 1000, *[1] * 1000, min_share=0.05)
    served = Counter(queue.pop() for _ in range(400))
    assert served[1] == 20


def test_several_lower_levels_get_their_shares() -> None:
    queue = queue_of(*[0] * 1000, *[1] * 1000, *[2] * 1000, min_share=0.1)
    served = Counter(queue.pop() for _ in range(500))
    assert served[2] == pytest.approx(50, abs=2)
    assert served[1] == pytest.approx(50, abs=6)


def test_a_share_of_nothing_is_nothing() -> None:
    queue = queue_of(*[0] * 100, 1)
    assert [queue.pop() for _ in range(100)] == [0] * 100


def test_an_empty_queue_has_nobody_to_serve() -> None:
    with pytest.raises(IndexError):
        queue_of().pop()


@given(st.lists(st.integers(0, 3), max_size=60), st.floats(0, 0.5))
def test_everybody_is_served_once(levels: list[int], share: float) -> None:
    assert Counter(drained(queue_of(*levels, min_share=share))) == Counter(levels)


@given(st.lists(st.integers(0, 2), min_size=1))
def test_heads_are_the_oldest_of_each_level(levels: list[int]) -> None:
    queue: PriorityQueue[tuple[int, int]] = PriorityQueue()
    for number, level in enumerate(levels):
        queue.push((level, number), level)
    assert sorted(queue.heads()) == [(level, levels.index(level)) for level in sorted(set(levels))]


def test_levels_follow_from_the_order_of_the_lower_topics() -> None:
    policy = PriorityPolicy(lower=("second", "third"))
    assert [policy.level(topic) for topic in ("any", "second", "third")] == [0, 1, 2]
    assert list(policy.levels) == [0, 1, 2]


def test_turns_are_given_by_level() -> None:
    async def scenario() -> list[str]:
        turns, order = Turns(1), list[str]()

        async def take(name: str, level: int) -> None:
            await turns.acquire(level)
            order.append(name)
            turns.release()

        await turns.acquire()
        tasks = [asyncio.create_task(take(*each)) for each in (("low", 1), ("high", 0), ("l2", 1))]
        await asyncio.sleep(0)
        assert order == []
        turns.release()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == ["high", "low", "l2"]


def test_as_many_have_a_turn_as_there_are() -> None:
    async def scenario() -> int:
        turns, now, most = Turns(3), 0, 0

        async def take() -> None:
            nonlocal now, most
            await turns.acquire()
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            turns.release()

        await asyncio.gather(*(take() for _ in range(20)))
        return most

    assert asyncio.run(scenario()) == 3


@pytest.mark.parametrize("given_first", [False, True])
def test_a_turn_of_somebody_who_is_gone_goes_to_the_next(given_first: bool) -> None:
    async def scenario() -> None:
        turns = Turns(1)
        await turns.acquire()
        gone = asyncio.create_task(turns.acquire())
        after = asyncio.create_task(turns.acquire())
        await asyncio.sleep(0)
        if given_first:
            turns.release()
            gone.cancel()
        else:
            gone.cancel()
            await asyncio.sleep(0)
            turns.release()
        await asyncio.wait_for(after, 10)
        turns.release()
        await asyncio.wait_for(turns.acquire(), 10)

    asyncio.run(scenario())
