"""A worker keeps within its share of the job's rate. Time is virtual."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.backfill.running.manners import UNLIMITED, Rates
from tests.rigs.virtual_time import run
from workers.backfill.pacer import Pacer


def now() -> float:
    return asyncio.get_running_loop().time()


async def begins(pacer: Pacer, sizes: list[int | None]) -> list[float]:
    """When each of several objects begins that all ask at once."""
    start, times = now(), []

    async def one(size: int | None) -> None:
        await pacer.begin(size)
        times.append(now() - start)

    async with asyncio.TaskGroup() as group:
        for size in sizes:
            group.create_task(one(size))
    return times


def test_without_a_limit_nobody_waits() -> None:
    async def main() -> None:
        assert set(await begins(Pacer(), [None] * 100)) == {0.0}

    run(main())


def test_objects_begin_at_the_rate_and_in_order() -> None:
    async def main() -> None:
        pacer = Pacer()
        pacer.follow(Rates(10.0, None))
        times = await begins(pacer, [None] * 51)
        assert times == sorted(times)
        assert times[-1] == pytest.approx(5.0, abs=0.01)

    run(main())


def test_bytes_are_bounded_and_a_large_object_passes_all_the_same() -> None:
    async def main() -> None:
        pacer = Pacer()
        pacer.follow(Rates(None, 1000.0))
        times = await begins(pacer, [500, 10_000, 100, 100])
        assert times == pytest.approx([0.0, 0.5, 10.5, 10.6], abs=0.01)

    run(main())


def test_bytes_that_are_known_only_afterwards_are_paid_by_the_next() -> None:
    async def main() -> None:
        pacer = Pacer()
        pacer.follow(Rates(None, 1000.0))
        await pacer.begin(None)
        pacer.charge(3000)
        start = now()
        await pacer.begin(None)
        assert now() - start == pytest.approx(3.0, abs=0.01)

    run(main())


def test_a_quiet_time_saves_up_a_second_and_no_more() -> None:
    async def main() -> None:
        pacer = Pacer()
        pacer.follow(Rates(10.0, None))
        await pacer.begin(None)
        await asyncio.sleep(3600)
        times = await begins(pacer, [None] * 30)
        assert sum(each < 0.001 for each in times) == 11
        assert times[-1] == pytest.approx(1.9, abs=0.01)

    run(main())


@pytest.mark.parametrize(("share", "rest_s"), [(Rates(100.0, None), 0.3), (UNLIMITED, 0.0)])
def test_those_that_wait_follow_a_new_share_at_once(share: Rates, rest_s: float) -> None:
    async def main() -> None:
        pacer = Pacer()
        pacer.follow(Rates(0.1, None))
        waiting = asyncio.create_task(begins(pacer, [None] * 31))
        await asyncio.sleep(5)
        pacer.follow(share)
        times = await waiting
        assert times[0] == 0.0
        # The first one that waits has half its token, and the others have none.
        assert times[-1] == pytest.approx(5 + rest_s, abs=0.02)

    run(main())


def test_a_cancelled_wait_takes_nothing() -> None:
    async def main() -> None:
        pacer = Pacer()
        pacer.follow(Rates(1.0, None))
        await pacer.begin(None)
        waiting = asyncio.create_task(pacer.begin(None))
        await asyncio.sleep(0.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        start = now()
        await pacer.begin(None)
        assert now() - start == pytest.approx(0.5, abs=0.01)

    run(main())
