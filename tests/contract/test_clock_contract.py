"""What every clock promises: the machine's, the one of a test's hands, and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.clock import HandClock
from pipeline.ports import Clock
from tests.rigs import virtual_time
from tests.rigs.virtual_time import LoopClock
from tests.rigs.waiting import WAIT_S

SHORT_S = 0.01
RESOLUTION_S = 1e-6

Scenario = Callable[[Clock], Awaitable[None]]


@dataclass
class Subject:
    """A clock, and how a scenario is run on it."""

    clock: Clock
    run: Callable[[Scenario], None]


def in_real_time() -> Subject:
    clock = SystemClock()
    return Subject(clock, lambda scenario: asyncio.run(_whole(scenario(clock))))


def by_hand() -> Subject:
    clock = HandClock()

    async def turn() -> None:
        while True:
            await asyncio.sleep(0)
            clock.now += SHORT_S / 4

    async def turned(scenario: Scenario) -> None:
        hand = asyncio.create_task(turn())
        await scenario(clock)
        hand.cancel()
        with suppress(asyncio.CancelledError):
            await hand

    return Subject(clock, lambda scenario: asyncio.run(turned(scenario)))


def in_virtual_time() -> Subject:
    clock = LoopClock()
    return Subject(clock, lambda scenario: virtual_time.run(_whole(scenario(clock))))


async def _whole(scenario: Awaitable[None]) -> None:
    await scenario


@pytest.fixture(params=[in_real_time, by_hand, in_virtual_time], ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest) -> Subject:
    made: Subject = request.param()
    return made


def test_nobody_sleeps_less_than_asked_for_by_the_clock_itself(subject: Subject) -> None:
    async def scenario(clock: Clock) -> None:
        began, began_at = clock.monotonic(), clock.time()
        await clock.sleep(SHORT_S)
        assert clock.monotonic() - began >= SHORT_S - RESOLUTION_S
        assert clock.time() > began_at

    subject.run(scenario)


def test_who_sleeps_shorter_wakes_first(subject: Subject) -> None:
    async def scenario(clock: Clock) -> None:
        woken: list[int] = []

        async def sleeper(times: int) -> None:
            await clock.sleep(times * SHORT_S)
            woken.append(times)

        await asyncio.gather(*(sleeper(times) for times in (3, 1, 2)))
        assert woken == [1, 2, 3]

    subject.run(scenario)


def test_a_sleep_of_nothing_lets_others_run(subject: Subject) -> None:
    async def scenario(clock: Clock) -> None:
        ran = asyncio.Event()
        task = asyncio.create_task(_set(ran))
        await clock.sleep(0)
        assert ran.is_set()
        await task

    subject.run(scenario)


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_a_sleep_that_is_cancelled_ends_at_once(subject: Subject) -> None:
    async def scenario(clock: Clock) -> None:
        task = asyncio.ensure_future(clock.sleep(3600))
        await clock.sleep(SHORT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await clock.sleep(SHORT_S)  # and nobody minds

    subject.run(scenario)


# -- the hands ----------------------------------------------------------------------------------


def test_time_stands_still_until_it_is_moved_from_any_thread() -> None:
    clock = HandClock(5.0)

    def move() -> None:
        clock.now += 2.0

    async def scenario() -> None:
        task = asyncio.ensure_future(clock.sleep(2.0))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        await asyncio.to_thread(move)
        await task
        assert (clock.monotonic(), clock.time()) == (7.0, 7.0)

    asyncio.run(scenario())


def test_the_hands_count_from_the_call_and_not_from_the_first_step() -> None:
    clock = HandClock(5.0)

    async def scenario() -> None:
        sleep = clock.sleep(2.0)
        clock.now += 2.0
        await asyncio.wait_for(sleep, WAIT_S)

    asyncio.run(scenario())


def test_a_sleep_that_was_cancelled_before_its_first_step_is_forgotten() -> None:
    clock = HandClock(5.0)

    async def scenario() -> None:
        asyncio.ensure_future(clock.sleep(2.0)).cancel()

    asyncio.run(scenario())
    clock.now += 2.0  # would fail on the closed loop
    assert clock._sleepers == []
