"""Web servers: a breaker for each host, and hosts that only a pattern names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from pipeline.adapters.https.policy import matches
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Reject
from pipeline.fetch import Store
from pipeline.fetch.healths import MAX_HOSTS
from pipeline.metrics import BREAKER_OPEN, IMAGE_METRICS, STORE_BREAKER_OPEN, STORE_METRICS
from pipeline.records import ImageRef, ObjectBody
from tests.rigs.stages.fetching import (
    HOUR_S,
    OUTAGES,
    POLICY,
    Behaviour,
    ScriptedStore,
    break_off,
    fetcher_of,
    hang,
    reference,
)
from tests.rigs.virtual_time import run

NAMED = "named.example.com"


class Servers(ScriptedStore):
    """Hosts, each of which may be down."""

    def __init__(self) -> None:
        super().__init__()
        self.down: dict[str, Behaviour] = {}

    async def fetch(
        self, bucket: str, key: str, *, on_answer: Callable[[], Awaitable[None]], **how: object
    ) -> ObjectBody:
        self.asked.append(f"{bucket}/{key}")
        body = await self.down.get(bucket, self.serve)()
        await on_answer()
        return ObjectBody(body, None, None)


class Bench:
    """A fetcher on a host that is named, and on all others."""

    def __init__(self, *rules: str) -> None:
        self.servers = Servers()
        self.meter = MemoryMeter((*IMAGE_METRICS, *STORE_METRICS))
        stores = [
            Store(
                rule,
                "https",
                partial(matches, rule),
                "https.allowed_hosts",
                self.servers,
                pattern=rule.startswith("*"),
            )
            for rule in rules or (NAMED, "*")
        ]
        self.fetcher = fetcher_of(stores, self.meter)

    def start(self, host: str, count: int = 1) -> list[asyncio.Task[ObjectBody]]:
        return [asyncio.create_task(self.fetch(host, f"{number}")) for number in range(count)]

    async def fetch(self, host: str, key: str, query: str | None = None) -> ObjectBody:
        async with self.fetcher.fetch(of(host, key, query), source=host) as body:
            return body

    async def others_go_on(self, seconds: float, host: str = "good.example.com") -> None:
        for number in range(int(seconds)):
            await self.fetch(host, f"passing-{number}")
            await asyncio.sleep(1.0)


def of(host: str, key: str, query: str | None = None) -> ImageRef:
    return replace(reference(key, host), scheme="https", version_id=None, etag=None, query=query)


def codes(ended: list[ObjectBody | BaseException]) -> set[str]:
    return {each.code if isinstance(each, Reject) else "read" for each in ended}


def test_a_query_is_part_of_what_is_asked_for() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch(NAMED, "x", "a=1")
        await bench.fetch(NAMED, "x")
        assert bench.servers.asked == [f"{NAMED}/x?a=1", f"{NAMED}/x"]
        await bench.fetcher.close()

    run(main())


def test_a_host_of_no_rule_is_refused_and_the_setting_is_named() -> None:
    async def main() -> None:
        bench = Bench(NAMED, "other.example.com")
        with pytest.raises(Reject) as caught:
            await bench.fetch("a.example.net", "x")
        assert caught.value.code == "fetch.bucket_not_allowed"
        assert "host 'a.example.net' is not in https.allowed_hosts;" in caught.value.message
        await bench.fetcher.close()

    run(main())


@OUTAGES
def test_an_outage_of_a_named_host_is_waited_for_without_end(outage: Behaviour) -> None:
    async def main() -> None:
        bench = Bench()
        bench.servers.down[NAMED] = outage
        waiting = bench.start(NAMED, 10)
        await bench.others_go_on(600)
        assert not any(task.done() for task in waiting)
        assert bench.meter.value(STORE_BREAKER_OPEN, store=NAMED) == 1
        assert bench.meter.value(BREAKER_OPEN) == 1
        del bench.servers.down[NAMED]
        assert codes(await asyncio.gather(*waiting, return_exceptions=True)) == {"read"}
        assert bench.meter.value(STORE_BREAKER_OPEN, store=NAMED) == 0
        await bench.fetcher.close()

    run(main())


@OUTAGES
@pytest.mark.parametrize("count", [1, 20])
def test_a_patterns_host_that_stays_away_is_given_up_while_others_answer(
    outage: Behaviour, count: int
) -> None:
    async def main() -> None:
        bench = Bench()
        bench.servers.down["dead.example.com"] = outage
        waiting = bench.start("dead.example.com", count)
        await bench.others_go_on(5 * POLICY.deadline_s)
        assert all(task.done() for task in waiting)
        assert codes(await asyncio.gather(*waiting, return_exceptions=True)) == {
            "fetch.host_failed"
        }
        assert bench.meter.value(BREAKER_OPEN) == 0, "a message must not raise an alert"
        assert bench.fetcher.available
        await bench.fetcher.close()

    run(main())


@OUTAGES
def test_nothing_is_given_up_while_no_host_answers_at_all(outage: Behaviour) -> None:
    async def main() -> None:
        bench = Bench()
        hosts = [f"{number}.example.com" for number in range(5)]
        await asyncio.gather(*(task for host in hosts for task in bench.start(host, 2)))
        bench.servers.down = dict.fromkeys((*hosts, NAMED), outage)
        waiting = [task for host in hosts for task in bench.start(host, 10)]
        await asyncio.sleep(HOUR_S)
        assert not any(task.done() for task in waiting)
        bench.servers.down.clear()
        assert codes(await asyncio.gather(*waiting, return_exceptions=True)) == {"read"}
        await bench.fetcher.close()

    run(main())


def test_a_dead_host_is_given_up_though_no_other_reference_comes_meanwhile() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("good.example.com", "x")
        bench.servers.down["dead.example.com"] = break_off
        [alone] = bench.start("dead.example.com")
        with pytest.raises(Reject) as caught:
            await asyncio.wait_for(alone, 10 * POLICY.deadline_s)
        assert caught.value.code == "fetch.host_failed"
        await bench.fetcher.close()

    run(main())


def test_one_hosts_breaker_leaves_other_hosts_alone() -> None:
    async def main() -> None:
        bench = Bench("*.example.com")
        bench.servers.down["dead.example.com"] = hang
        waiting = bench.start("dead.example.com", 30)
        await asyncio.sleep(20.0)
        started = asyncio.get_running_loop().time()
        await bench.fetch("good.example.com", "x")
        assert asyncio.get_running_loop().time() - started < 1.0
        assert bench.fetcher.serving
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await bench.fetcher.close()

    run(main())


def test_any_number_of_hosts_leaves_a_bounded_number_of_states() -> None:
    async def main() -> None:
        bench = Bench()
        for number in range(3 * MAX_HOSTS):
            host = f"h{number}.example.com"
            if number % 7 == 0:
                bench.servers.down[host] = break_off
                tasks = bench.start(host, 8)
                await asyncio.sleep(10.0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            else:
                await bench.fetch(host, "x")
        assert len(bench.fetcher._healths._hosts) == MAX_HOSTS
        probes = [task for task in asyncio.all_tasks() if task.get_name() == "store-probe"]
        assert len(probes) <= MAX_HOSTS
        await bench.fetcher.close()

    run(main())


def test_what_a_message_has_chosen_says_nothing_about_the_deployment() -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.fetcher.reads_from("unknown.example.com")
        assert not await bench.fetcher.reads_from(NAMED), "nothing was read from it"
        await bench.fetcher.close()

    run(main())
