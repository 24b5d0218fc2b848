"""The live view: who looks sees outcomes as they come, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.errors import Halt, Retry
from tests.rigs.serve.console import console, limited
from tests.rigs.serve.stream import WRITTEN_S, MemoryTopics, classified, dead, photo, result
from tests.rigs.waiting import INTERVAL_S, WAIT_S
from workers.serve.caller import ANYBODY
from workers.serve.live import watch as watching
from workers.serve.live.fanout import MOST_WAITING, NEWEST, Fanout, Filter, Reader
from workers.serve.live.outcome import Outcome, outcome_of
from workers.serve.live.routes.live import PING_S
from workers.serve.live.watch import LINGER_S, Watch


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(WAIT_S):
            await scenario

    asyncio.run(within())


async def until(holds: Any) -> None:
    while not holds():  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(INTERVAL_S)


def outcomes(count: int, at: float = WRITTEN_S) -> list[Outcome]:
    records = (classified(photo(f"{n}.jpg"), at=at + n) for n in range(count))
    return [outcome for record in records if (outcome := outcome_of(record)) is not None]


# -- handing out --------------------------------------------------------------------------------


def test_a_slow_reader_loses_the_oldest_and_learns_how_many() -> None:
    fanout = Fanout(HandClock())
    with (
        fanout.joined(ANYBODY, Filter()) as slow,
        fanout.joined(ANYBODY, Filter()) as quick,
    ):
        first, rest = outcomes(1), outcomes(MOST_WAITING)
        fanout.publish(first)
        assert quick.take(10) == first
        fanout.publish(rest)
        assert (slow.dropped, quick.dropped) == (1, 0)
        assert slow.take(MOST_WAITING) == rest


def test_what_a_filter_leaves_out_is_not_dropped() -> None:
    fanout = Fanout(HandClock())
    with fanout.joined(ANYBODY, Filter(decision="block")) as reader:
        fanout.publish(outcomes(2 * MOST_WAITING))
        assert (reader.dropped, reader.take(10)) == (0, [])


def test_who_joins_sees_the_newest_outcomes_first() -> None:
    fanout = Fanout(HandClock())
    published = outcomes(NEWEST + 10)
    fanout.publish(published[30:])
    fanout.publish(published[:30])
    with fanout.joined(ANYBODY, Filter()) as reader:
        assert reader.take(100) == published[-NEWEST:]


def test_an_outcome_that_is_read_twice_is_handed_out_once() -> None:
    fanout = Fanout(HandClock())
    with fanout.joined(ANYBODY, Filter()) as reader:
        published = outcomes(3)
        fanout.publish(published)
        fanout.publish(published)
        assert reader.take(10) == published


def figures(reader: Reader) -> tuple[float, float | None]:
    return reader.rate, reader.age_s


def test_rate_and_age_are_of_what_the_key_may_see() -> None:
    clock = HandClock(WRITTEN_S + 12)
    fanout = Fanout(clock)
    with (
        fanout.joined(ANYBODY, Filter(decision="block")) as all_of_it,
        fanout.joined(limited(objects=()), Filter()) as nothing,
    ):
        assert figures(all_of_it) == (0.0, None)
        fanout.publish(outcomes(12))
        assert figures(all_of_it) == (1.0, 1.0)
        assert figures(nothing) == (0.0, None)
        clock.now += 100
        assert figures(all_of_it) == (0.0, 101.0)


# -- the stream of events -----------------------------------------------------------------------


def test_outcomes_and_figures_arrive_as_they_are_published() -> None:
    async def scenario() -> None:
        asked = console()
        async with asked.events() as stream:
            (stats,) = await stream.until(1, "stats")
            assert stats["dropped"] == 0
            asked.topics.deliver(classified(photo("1.jpg"), at=WRITTEN_S))
            asked.topics.deliver(dead(photo("2.jpg"), at=WRITTEN_S + 1))
            arrived = await stream.until(2)
            assert [each["kind"] for each in arrived] == ["classification", "dead_letter"]
            await stream.until(4, "stats")
            while stream.named("stats")[-1]["lag"] is None:  # a thread asks for it
                await stream.tick()
            last = stream.named("stats")[-1]
            assert last["lag"] == 7
            assert last["trouble"] is None
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["x-accel-buffering"] == "no"
            await stream.tick(PING_S)
            await stream.until(1, "comment")

    run(scenario())


def test_the_server_filters() -> None:
    async def scenario() -> None:
        asked = console()
        async with asked.events("decision=block&text=cats") as stream:
            asked.topics.deliver(
                classified(photo("cats/1.jpg")),
                classified(photo("dogs/2.jpg"), result("shapes", "block", "circle")),
                classified(photo("cats/3.jpg"), result("shapes", "block", "circle")),
            )
            (only,) = await stream.until(1)
            assert only["uri"] == "s3://photos/cats/3.jpg"

    run(scenario())


def test_a_key_sees_only_what_it_may() -> None:
    async def scenario() -> None:
        asked = console(caller=limited(objects=("photos/*",)))
        async with asked.events() as stream:
            asked.topics.deliver(classified(photo("1.jpg", "private")), classified(photo("2.jpg")))
            (only,) = await stream.until(1)
            assert only["uri"] == "s3://photos/2.jpg"

    run(scenario())


def test_a_client_that_reads_slowly_learns_what_it_missed() -> None:
    async def scenario() -> None:
        asked = console()
        async with asked.events() as stream:
            await stream.until(1, "stats")
            stream.reads.clear()
            await stream.tick(1.0)  # the next event waits for the client
            many = [classified(photo(f"{n}.jpg"), at=WRITTEN_S + n) for n in range(300)]
            asked.topics.deliver(*many)
            fanout = asked.services.live.require_stream().watch._fanout
            await until(lambda: fanout._newest)
            stream.reads.set()
            await stream.until(MOST_WAITING)
            await stream.until(3, "stats")
            assert stream.named("stats")[-1]["dropped"] == 100
            assert stream.named("outcome")[-1]["uri"] == "s3://photos/299.jpg"

    run(scenario())


def test_a_drain_ends_the_stream() -> None:
    async def scenario() -> None:
        asked = console()
        async with asked.events() as stream:
            await stream.until(1, "stats")
            asked.services.standing.draining = True
            await stream.tick()
            await stream.ended.wait()

    run(scenario())


def test_who_leaves_frees_the_queue() -> None:
    async def scenario() -> None:
        asked = console()
        fanout = asked.services.live.require_stream().watch._fanout
        async with asked.events() as stream:
            await stream.until(1, "stats")
            assert fanout.readers == 1
        assert fanout.readers == 0

    run(scenario())


# -- the thread that reads ----------------------------------------------------------------------


def test_one_thread_reads_for_all_and_stops_some_time_after_the_last_has_left() -> None:
    async def scenario() -> None:
        topics, clock = MemoryTopics(), HandClock()
        watch = Watch(topics, clock)
        with watch.joined(ANYBODY, Filter()), watch.joined(ANYBODY, Filter()):
            await until(lambda: topics.opened)
        clock.now += LINGER_S - 1
        await asyncio.sleep(0)
        with watch.joined(ANYBODY, Filter()):  # a page was reloaded
            clock.now += 10 * LINGER_S
            await asyncio.sleep(0)
            assert watch.reading
        await until(lambda: watch._ending is not None)
        await asyncio.sleep(0)
        clock.now += LINGER_S
        await until(lambda: topics.closed and not watch.reading)
        assert topics.opened == 1
        with watch.joined(ANYBODY, Filter()):
            await until(lambda: topics.opened == 2)
        await watch.close()
        assert topics.closed == 2
        await watch.close()

    run(scenario())


@pytest.mark.parametrize("kind", [Retry, Halt])
def test_an_outage_is_told_and_reading_goes_on_after_it(
    kind: type[Retry | Halt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "AGAIN_S", INTERVAL_S)

    async def scenario() -> None:
        asked = console()
        async with asked.events() as stream:
            await stream.until(1, "stats")
            asked.topics.fails = kind("kafka.unavailable", "kafka: broker:9092 does not answer")
            asked.topics.polls.put(Retry("kafka.unavailable", "kafka: gone"))
            while not stream.named("stats")[-1]["trouble"]:
                await stream.tick()
            watch = asked.services.live.require_stream().watch
            while watch.lag is not None:
                await stream.tick()
            asked.topics.fails = None
            asked.topics.deliver(classified(photo("1.jpg")))
            await stream.until(1)
            while stream.named("stats")[-1]["trouble"]:
                await stream.tick()
            assert asked.topics.opened == 2

    run(scenario())


def test_a_defect_does_not_end_the_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "AGAIN_S", INTERVAL_S)

    async def scenario() -> None:
        asked = console()
        async with asked.events() as stream:
            asked.topics.polls.put(KeyError("a defect"))
            asked.topics.deliver(classified(photo("1.jpg")))
            await stream.until(1)

    run(scenario())
    assert "live view: reading failed" in caplog.text
