"""The fetch stage: what is read, what is tried again, and what is dead-lettered."""

from __future__ import annotations

import asyncio
import itertools
import weakref

import pytest

from pipeline.errors import Halt, Reject, Retry
from pipeline.metrics import (
    BREAKER_OPEN,
    FETCH_RETRIES,
    FETCHED_BYTES,
    QUEUE_DEPTH,
    STAGE_SECONDS,
)
from pipeline.records import ObjectBody
from tests.rigs.stages.fetching import (
    POLICY,
    Behaviour,
    Bench,
    break_off,
    hang,
    miss,
    now,
    reference,
    refuse,
)
from tests.rigs.virtual_time import run


def test_the_object_named_is_read_under_the_limit() -> None:
    async def main() -> None:
        bench = Bench()
        assert (await bench.fetch("a")).body == b"image"
        assert bench.store.wanted == [("v1", "e1", 1000)]
        assert bench.meter.value(FETCHED_BYTES) == 5
        assert bench.meter.value(FETCH_RETRIES) == 0
        assert bench.meter.values(STAGE_SECONDS, stage="fetch") == [pytest.approx(0.1)]

    run(main())


def test_a_bucket_that_is_not_allowed_is_not_even_asked_for() -> None:
    async def main() -> None:
        bench = Bench()
        with pytest.raises(Reject, match=r"'secrets' is not in s3\.allowed_buckets") as caught:
            async with bench.fetcher.fetch(reference("a", bucket="secrets")):
                pass
        assert caught.value.code == "fetch.bucket_not_allowed"
        assert bench.store.asked == []

    run(main())


def test_a_failure_that_passes_is_retried() -> None:
    async def main() -> None:
        bench = Bench()

        async def twice() -> bytes:
            return await (break_off() if len(bench.store.asked) <= 2 else bench.store.serve())

        bench.store.scripts["a"] = twice
        assert (await bench.fetch("a")).body == b"image"
        assert bench.store.asked == ["a"] * 3
        assert bench.meter.value(FETCH_RETRIES) == 2
        # Attempts of 0.05, 0.05 and 0.1 s, and waits of half of 0.2 and half of 0.4 s.
        assert bench.meter.values(STAGE_SECONDS, stage="fetch") == [pytest.approx(0.5)]

    run(main())


def test_a_rejection_says_how_many_attempts_it_took() -> None:
    async def main() -> None:
        bench = Bench()

        async def fail_then_miss() -> bytes:
            return await (break_off() if len(bench.store.asked) == 1 else miss())

        bench.store.scripts["a"] = fail_then_miss
        reject = await bench.rejection("a")
        assert (reject.code, reject.attempts) == ("fetch.not_found", 2)

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "code", "within_s"),
    [
        (break_off, "fetch.failed", 45.0),
        (refuse, "fetch.forbidden", 3.0),
        (hang, "fetch.timeout", 45.0),
    ],
)
def test_an_object_that_keeps_failing_beside_others_is_dead_lettered(
    behaviour: Behaviour, code: str, within_s: float
) -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.scripts["bad"] = behaviour
        others = asyncio.create_task(bench.stream(60.0))
        begun = now()
        reject = await bench.rejection("bad")
        assert reject.code == code
        assert reject.attempts == bench.store.asked.count("bad") >= 2
        assert "while the store served other objects" in reject.message
        assert now() - begun < within_s
        await others
        assert bench.meter.values(BREAKER_OPEN) == [0]

    run(main())


def test_a_slow_object_gets_more_than_one_chance_within_the_deadline() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.scripts["slow"] = hang
        others = asyncio.create_task(bench.stream(60.0))
        reject = await bench.rejection("slow")
        assert reject.attempts == 2
        assert bench.meter.values(STAGE_SECONDS, stage="fetch")[-1] == pytest.approx(30.0, abs=1.0)
        await others

    run(main())


def test_waiting_for_a_slot_is_no_failure() -> None:
    async def main() -> None:
        bench = Bench(POLICY.model_copy(update={"max_open_objects": 1}))
        bench.store.latency_s = 10.0
        keys = [f"image-{number}" for number in range(20)]
        await asyncio.gather(*bench.start(*keys))
        assert sorted(bench.store.asked) == sorted(keys)
        assert max(bench.meter.values(STAGE_SECONDS, stage="fetch")) == pytest.approx(10.0)

    run(main())


def test_no_more_objects_are_read_at_once_than_allowed() -> None:
    async def main() -> None:
        bench = Bench()
        tasks = bench.start(*(f"image-{number}" for number in range(100)))
        await asyncio.sleep(0.05)
        assert bench.meter.value(QUEUE_DEPTH, stage="fetch") == 92
        await asyncio.gather(*tasks)
        assert bench.store.most_under_way == 8
        assert bench.meter.value(QUEUE_DEPTH, stage="fetch") == 0

    run(main())


def test_an_object_is_held_until_its_reader_is_done_with_it() -> None:
    async def main() -> None:
        bench = Bench(POLICY.model_copy(update={"max_open_objects": 1}))
        async with bench.fetcher.fetch(reference("first")) as body:
            (second,) = bench.start("second")
            await asyncio.sleep(60.0)
            assert bench.store.asked == ["first"]
            assert body.body == b"image"
        assert (await second).body == b"image"
        with pytest.raises(ValueError, match="decode"):
            async with bench.fetcher.fetch(reference("third")):
                raise ValueError("the decode failed")
        assert (await bench.fetch("fourth")).body == b"image"

    run(main())


def test_an_object_between_attempts_holds_no_slot() -> None:
    async def main() -> None:
        bench = Bench(POLICY.model_copy(update={"max_open_objects": 1}))
        bench.store.scripts["bad"] = break_off
        (bad,) = bench.start("bad")
        await bench.stream(8.0)
        assert not bad.done()
        assert bench.store.asked.count("bad") >= 3
        bad.cancel()

    run(main())


def test_a_store_that_asks_for_a_pause_gets_it_and_the_object_is_not_charged() -> None:
    async def main() -> None:
        bench = Bench()
        attempts: list[float] = []

        async def busy() -> bytes:
            attempts.append(now())
            if len(attempts) <= 4:
                raise Retry("fetch.failed", "s3: 503 SlowDown", retry_after_s=20.0)
            return b"image"

        bench.store.scripts["busy"] = busy
        others = asyncio.create_task(bench.stream(120.0))
        assert (await bench.fetch("busy")).body == b"image"
        assert all(later - earlier > 19.99 for earlier, later in itertools.pairwise(attempts))
        await others

    run(main())


def test_a_cancelled_fetch_leaves_no_trace() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.outage = hang
        tasks = bench.start(*(f"image-{number}" for number in range(20)))
        for task in tasks[:15]:
            # Some wait for a slot, some for the store, one asks it for all.
            await asyncio.sleep(7.0)
            task.cancel()
        bench.store.outage = None
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results[15:]] == [ObjectBody] * 5
        assert all(isinstance(result, asyncio.CancelledError) for result in results[:15])
        assert bench.meter.value(QUEUE_DEPTH, stage="fetch") == 0
        assert bench.store.under_way == 0
        await asyncio.gather(*bench.start(*(f"more-{number}" for number in range(8))))
        assert bench.store.most_under_way <= 8

    run(main())


def test_a_halt_of_the_store_stops_at_once() -> None:
    async def main() -> None:
        bench = Bench()

        async def halt() -> bytes:
            raise Halt("s3.no_credentials", "s3: no credentials")

        bench.store.outage = halt
        with pytest.raises(Halt):
            await bench.fetch("a")

    run(main())


def test_a_failure_that_is_kept_holds_nothing_of_the_object() -> None:
    class Part:
        """What had arrived."""

    async def main() -> None:
        bench = Bench()
        parts: list[weakref.ref[Part]] = []

        async def broken_off() -> bytes:
            part = Part()
            parts.append(weakref.ref(part))
            failure = Retry("fetch.failed", "s3: the body broke off")
            raise failure from ConnectionError("reset")

        bench.store.scripts["a"] = broken_off
        (task,) = bench.start("a")
        await asyncio.sleep(0.05)
        assert parts
        assert parts[0]() is None
        task.cancel()

    run(main())


@pytest.mark.parametrize("min_share", [0.0, 0.05])
def test_a_live_object_that_failed_once_does_not_wait_for_bad_ones_of_a_backfill(
    min_share: float,
) -> None:
    async def main() -> None:
        bench = Bench(min_share=min_share)
        for number in range(8):
            await bench.fetch(f"good-{number}")
        for number in range(40):
            bench.store.scripts[f"bad-{number}"] = break_off
        backfill = [
            asyncio.create_task(bench.fetch(f"bad-{number}", level=1)) for number in range(40)
        ]
        live = [asyncio.create_task(bench.stream(60.0, every_s=0.0)) for _ in range(20)]
        await asyncio.sleep(1.0)

        async def once() -> bytes:
            return await (
                break_off() if bench.store.asked.count("hiccup") == 1 else bench.store.serve()
            )

        bench.store.scripts["hiccup"] = once
        began = now()
        await bench.fetch("hiccup")
        assert now() - began < 10.0
        for task in [*backfill, *live]:
            task.cancel()

    run(main())
