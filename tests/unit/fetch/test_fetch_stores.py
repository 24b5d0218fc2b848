"""Several stores: which one a reference is read from, and that each has a breaker and evidence of
its own."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Reject
from pipeline.fetch import FetchPolicy, Stores
from pipeline.metrics import BREAKER_OPEN, IMAGE_METRICS, STORE_BREAKER_OPEN, STORE_METRICS
from pipeline.records import ObjectBody, Partition
from tests.rigs.stages.fetching import (
    BREAKER,
    HOUR_S,
    OUTAGES,
    POLICY,
    Behaviour,
    ScriptedStore,
    break_off,
    fetcher_of,
    hang,
    reference,
    refuse,
    store_of,
)
from tests.rigs.virtual_time import run
from tests.rigs.workers.stream_in_virtual_time import SimulatedWorker

HERE = [Partition("refs", number) for number in range(2)]
ELSEWHERE = [Partition("refs", 2 + number) for number in range(3)]


# -- the map ----------------------------------------------------------------------------------


def test_a_reference_is_read_from_the_first_store_that_allows_its_bucket() -> None:
    wide = store_of(ScriptedStore(), lambda _: True)
    narrow = store_of(ScriptedStore(), lambda bucket: bucket == "eu", name="eu")
    assert Stores([narrow, wide]).of(reference("a", bucket="eu")) is narrow
    assert Stores([narrow, wide]).of(reference("a", bucket="us")) is wide
    assert Stores([wide, narrow]).of(reference("a", bucket="eu")) is wide


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["s3"], "bucket 'secrets' is not in s3.allowed_buckets; add it there"),
        (
            ["eu", "s3"],
            "bucket 'secrets' is in none of stores[eu].allowed_buckets, s3.allowed_buckets; add",
        ),
    ],
)
def test_a_bucket_of_no_store_is_refused_and_the_lists_are_named(
    names: list[str], says: str
) -> None:
    stores = Stores([store_of(ScriptedStore(), lambda _: False, name=name) for name in names])
    with pytest.raises(Reject) as caught:
        stores.of(reference("a", bucket="secrets"))
    assert caught.value.code == "fetch.bucket_not_allowed"
    assert says in caught.value.message


def test_a_scheme_has_stores_of_its_own() -> None:
    s3 = store_of(ScriptedStore())
    web = store_of(ScriptedStore(), lambda host: host == "cdn", name="web", scheme="https")
    picture = replace(reference("a.jpg", bucket="cdn"), scheme="https")
    assert picture.uri == "https://cdn/a.jpg"
    assert Stores([s3, web]).of(picture) is web
    assert Stores([s3, web]).of(reference("a.jpg", bucket="cdn")) is s3
    with pytest.raises(Reject, match="no store reads https:// references") as caught:
        Stores([s3]).of(picture)
    assert caught.value.code == "fetch.bucket_not_allowed"


# -- the fetch stage on two stores ------------------------------------------------------------


class TwoStores:
    """A fetcher on the bucket ``eu`` of a store of that name, and all others in another."""

    def __init__(self) -> None:
        self.eu, self.us = ScriptedStore(), ScriptedStore()
        self.meter = MemoryMeter((*IMAGE_METRICS, *STORE_METRICS))
        stores = [
            store_of(self.eu, lambda bucket: bucket == "eu", name="eu"),
            store_of(self.us, name="us"),
        ]
        self.fetcher = fetcher_of(stores, self.meter)

    def start(self, bucket: str, count: int) -> list[asyncio.Task[ObjectBody]]:
        """Fetches of so many objects of a bucket, from a source of its name."""
        return [asyncio.create_task(self._fetch(bucket, f"image-{n}")) for n in range(count)]

    async def _fetch(self, bucket: str, key: str) -> ObjectBody:
        async with self.fetcher.fetch(reference(key, bucket), source=bucket) as body:
            return body

    def open(self, store: str) -> bool:
        return self.meter.value(STORE_BREAKER_OPEN, store=store) == 1

    def available(self) -> bool:
        return self.fetcher.available

    def serving(self) -> bool:
        return self.fetcher.serving

    def any_open(self) -> bool:
        return self.meter.value(BREAKER_OPEN) == 1


@OUTAGES
@pytest.mark.parametrize("objects_before", [0, 20])
def test_an_outage_of_one_store_opens_its_breaker_alone_and_the_other_goes_on(
    outage: Behaviour, objects_before: int
) -> None:
    async def main() -> None:
        bench = TwoStores()
        await asyncio.gather(*bench.start("eu", objects_before), *bench.start("us", 1))
        assert not bench.any_open()
        bench.eu.outage = outage
        waiting = bench.start("eu", 100)
        for _ in range(60):
            await asyncio.sleep(5.0)
            for each in await asyncio.gather(*bench.start("us", 20)):
                assert each.body == b"image"
        assert (bench.open("eu"), bench.open("us"), bench.any_open()) == (True, False, True)
        assert bench.available()
        assert bench.fetcher.sources_aside == {"eu"}
        assert not any(task.done() for task in waiting)
        bench.eu.outage = None
        assert {each.body for each in await asyncio.gather(*waiting)} == {b"image"}
        assert not bench.open("eu")
        assert not bench.any_open()
        await bench.fetcher.close()

    run(main())


@OUTAGES
def test_a_store_that_serves_convicts_no_object_of_another(outage: Behaviour) -> None:
    async def main() -> None:
        bench = TwoStores()
        bench.eu.outage = outage
        (alone,) = bench.start("eu", 1)
        for _ in range(int(HOUR_S / 60.0)):
            await asyncio.gather(*bench.start("us", 2))
            await asyncio.sleep(60.0)
        assert not alone.done()
        bench.eu.outage = None
        assert (await alone).body == b"image"
        await bench.fetcher.close()

    run(main())


def test_both_stores_share_the_places_in_memory() -> None:
    async def main() -> None:
        bench = TwoStores()
        under_way: list[int] = []

        async def serve() -> bytes:
            under_way.append(bench.eu.under_way + bench.us.under_way)
            await asyncio.sleep(0.1)
            return b"image"

        bench.eu.outage = bench.us.outage = serve
        await asyncio.gather(*bench.start("eu", 50), *bench.start("us", 50))
        assert max(under_way) == POLICY.max_open_objects

    run(main())


def test_a_store_that_hangs_from_the_start_does_not_keep_the_places_from_the_other() -> None:
    async def main() -> None:
        bench = TwoStores()
        bench.eu.outage = hang
        hanging = bench.start("eu", 2 * POLICY.max_open_objects)
        await asyncio.sleep(2.0)
        others = bench.start("us", 1)
        await asyncio.sleep(2.0)
        assert others[0].done()
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await bench.fetcher.close()

    run(main())


def test_whether_a_bucket_can_be_read_is_answered_while_its_store_is_down() -> None:
    async def main() -> None:
        bench = TwoStores()
        await asyncio.gather(*bench.start("eu", 10))
        bench.eu.outage = refuse
        assert not await bench.fetcher.reads_from("eu")
        waiting = bench.start("eu", 10)
        await asyncio.sleep(60.0)
        assert bench.open("eu")
        assert await asyncio.wait_for(bench.fetcher.reads_from("eu"), 1.0)
        assert not await bench.fetcher.reads_from("us"), "nothing was read from it"
        bench.eu.outage = None
        await asyncio.gather(*waiting)
        await bench.fetcher.close()

    run(main())


def test_nothing_more_comes_while_no_store_serves() -> None:
    async def main() -> None:
        bench = TwoStores()
        await asyncio.gather(*bench.start("eu", 10), *bench.start("us", 10))
        bench.eu.outage = bench.us.outage = break_off
        waiting = bench.start("eu", 10) + bench.start("us", 10)
        await asyncio.sleep(60.0)
        assert not bench.available()
        bench.us.outage = None
        await asyncio.sleep(BREAKER.open_s + 1.0)
        assert bench.available()
        bench.eu.outage = None
        await asyncio.gather(*waiting)
        await bench.fetcher.close()

    run(main())


@OUTAGES
@pytest.mark.parametrize("objects_before", [0, 20])
def test_a_store_that_nobody_uses_does_not_count_as_serving(
    outage: Behaviour, objects_before: int
) -> None:
    async def main() -> None:
        bench = TwoStores()
        assert bench.serving(), "nothing was asked for yet"
        await asyncio.gather(*bench.start("eu", objects_before))
        bench.eu.outage = outage
        waiting = bench.start("eu", 100)
        await asyncio.sleep(60.0)
        assert not bench.serving()
        assert bench.fetcher.held_up == {"eu"}
        assert bench.available(), "the first reference to the other store may come"
        await asyncio.gather(*bench.start("us", 1))
        assert bench.serving()
        assert bench.fetcher.held_up == {"eu"}
        bench.eu.outage = None
        await asyncio.gather(*waiting)
        assert bench.serving()
        assert bench.fetcher.held_up == frozenset()
        await bench.fetcher.close()

    run(main())


def test_a_store_counts_as_serving_while_its_first_reference_is_read() -> None:
    async def main() -> None:
        bench = TwoStores()
        await asyncio.gather(*bench.start("eu", 20))
        bench.eu.outage = break_off
        waiting = bench.start("eu", 10)
        await asyncio.sleep(60.0)
        bench.us.outage = hang
        first = bench.start("us", 1)
        await asyncio.sleep(0.1)
        assert bench.serving()
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        assert not bench.serving()
        bench.eu.outage = None
        await asyncio.gather(*waiting)
        await bench.fetcher.close()

    run(main())


def test_the_log_names_the_store_that_is_out_of_service(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bench = TwoStores()
        bench.eu.outage = break_off
        waiting = bench.start("eu", 10)
        await asyncio.sleep(60.0)
        bench.eu.outage = None
        await asyncio.gather(*waiting)

    with caplog.at_level(logging.INFO, "pipeline.fetch"):
        run(main())
    lines = [record.getMessage() for record in caplog.records]
    assert [line[: line.index(" of service") if " of" in line else 26] for line in lines] == [
        "fetch: store eu is out",
        "fetch: store eu is back af",
    ]


# -- a stream's partitions --------------------------------------------------------------------


def p99_s(worker: SimulatedWorker) -> float:
    """Of the references to the store that serves."""
    seconds = sorted(each.seconds for each in worker.taken if each.partition in HERE)
    return seconds[len(seconds) * 99 // 100]


async def flow(worker: SimulatedWorker, seconds: int) -> None:
    """Ten references a second to each store."""
    for tick in range(10 * seconds):
        worker.send(HERE[tick % len(HERE)], f"here-{tick}")
        worker.send(ELSEWHERE[tick % len(ELSEWHERE)], f"elsewhere-{tick}")
        await worker.run(0.1)


@OUTAGES
def test_references_to_a_store_that_is_down_hold_up_no_other_partition(outage: Behaviour) -> None:
    async def main() -> None:
        worker = SimulatedWorker([*HERE, *ELSEWHERE], elsewhere=ELSEWHERE)
        await flow(worker, 10)
        alone_s = p99_s(worker)
        worker.taken.clear()
        worker.other_store.outage = outage
        await flow(worker, 60)
        assert p99_s(worker) <= 2 * alone_s
        served = [each for each in worker.taken if each.partition in HERE]
        assert len(served) >= 595
        assert worker.paused == set(ELSEWHERE)
        worker.other_store.outage = None
        await worker.run(60.0)
        await worker.close()
        assert len(worker.taken) >= 1200
        assert {each.code for each in worker.taken} == {None}

    run(main())


def test_a_good_object_behind_more_bad_ones_than_may_wait_is_reached_at_last() -> None:
    """Of a store that has never answered: only a reference that was not tried can tell."""

    async def main() -> None:
        worker = SimulatedWorker([*HERE, *ELSEWHERE], elsewhere=ELSEWHERE)
        bad = 5 * FetchPolicy().max_open_objects
        for number in range(bad):
            worker.other_store.scripts[f"bad-{number}"] = refuse
            worker.send(ELSEWHERE[0], f"bad-{number}")
            if number == 10:
                await worker.run(5.0)
                assert worker.fetcher.sources_aside == {ELSEWHERE[0]}, "the breaker is open"
        worker.send(ELSEWHERE[0], "good")
        await worker.run(600.0)
        await worker.close()
        codes = {each.key: each.code for each in worker.taken}
        assert len(codes) == bad + 1
        assert codes.pop("good") is None
        assert set(codes.values()) == {"fetch.forbidden"}

    run(main())
