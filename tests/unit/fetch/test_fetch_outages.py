"""The fetch stage tells an outage of the store from a bad object."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pipeline.adapters.s3.answers import Answers
from pipeline.errors import Halt, Reject
from pipeline.metrics import (
    BREAKER_OPEN,
    FETCHED_BYTES,
)
from pipeline.records import ObjectBody
from tests.rigs.stages.fetching import (
    BREAKER,
    HOUR_S,
    POLICY,
    Behaviour,
    Bench,
    break_off,
    hang,
    miss,
    refuse,
)
from tests.rigs.virtual_time import run


@pytest.mark.parametrize("behaviour", [break_off, refuse, hang])
def test_an_object_alone_is_never_blamed(behaviour: Behaviour) -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.scripts["only"] = behaviour
        (task,) = bench.start("only")
        await asyncio.sleep(HOUR_S)
        assert not task.done()
        assert bench.available()
        bench.store.scripts.clear()
        assert (await task).body == b"image"

    run(main())


@pytest.mark.parametrize("behaviour", [break_off, refuse, hang])
def test_the_last_object_of_a_stream_is_settled_by_reading_an_earlier_one_again(
    behaviour: Behaviour,
) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("good")
        bench.store.scripts["bad"] = behaviour
        reject = await bench.rejection("bad")
        assert reject.code.startswith("fetch.")
        assert bench.store.asked.count("good") > 1
        assert bench.meter.value(FETCHED_BYTES) == 5, "only outcomes count as fetched"

    run(main())


@pytest.mark.parametrize("kind", [break_off, refuse, hang])
@pytest.mark.parametrize("objects_before", [0, 20])
def test_an_outage_dead_letters_nothing_and_ends_by_itself(
    kind: Behaviour, objects_before: int
) -> None:
    async def main() -> None:
        bench = Bench()
        for number in range(objects_before):
            await bench.fetch(f"before-{number}")
        half_done = bench.start(*(f"half-{number}" for number in range(8)))
        await asyncio.sleep(0.05)
        bench.store.outage = kind
        tasks = bench.start(*(f"image-{number}" for number in range(200)))
        await asyncio.sleep(60.0)
        asked = len(bench.store.asked)
        assert not bench.available()
        assert not bench.fetcher.serving
        assert bench.fetcher.held_up == frozenset(), "a single store holds up everything"
        assert bench.meter.value(BREAKER_OPEN) == 1
        await asyncio.sleep(600.0)
        assert not any(task.done() for task in tasks)
        assert len(bench.store.asked) - asked <= 600 / BREAKER.open_s + 1
        bench.store.outage = None
        await asyncio.sleep(BREAKER.open_s + POLICY.deadline_s)
        for task in half_done + tasks:
            assert task.result().body == b"image"
        assert bench.available()
        assert bench.meter.value(BREAKER_OPEN) == 0

    run(main())


def test_an_outage_on_a_quiet_stream_dead_letters_nothing_either() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("before")
        bench.store.outage = hang
        tasks = bench.start("a", "b")
        await asyncio.sleep(HOUR_S)
        assert not any(task.done() for task in tasks)
        bench.store.outage = None
        await asyncio.gather(*tasks)

    run(main())


def test_an_object_that_was_bad_before_an_outage_is_settled_after_it() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.scripts["bad"] = refuse
        await bench.fetch("good")
        bench.store.outage = break_off
        tasks = bench.start("bad", *(f"image-{number}" for number in range(10)))
        await asyncio.sleep(600.0)
        bench.store.outage = None
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], Reject)
        assert results[0].code == "fetch.forbidden"
        assert all(isinstance(result, ObjectBody) for result in results[1:])

    run(main())


def test_many_refused_objects_are_settled_once_the_store_is_known_to_serve() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("good")
        refused = [f"refused-{number}" for number in range(50)]
        bench.store.scripts.update(dict.fromkeys(refused, refuse))
        results = await asyncio.gather(*bench.start(*refused), return_exceptions=True)
        assert {type(result) for result in results} == {Reject}

    run(main())


def test_refused_objects_at_the_start_do_not_hold_up_the_stream_for_good() -> None:
    async def main() -> None:
        bench = Bench()
        refused = [f"refused-{number}" for number in range(10)]
        bench.store.scripts.update(dict.fromkeys(refused, refuse))
        tasks = bench.start(*refused)
        await asyncio.sleep(2.0)
        assert not bench.available()
        for _ in range(600):
            await asyncio.sleep(1.0)
            if bench.available():
                break
        assert bench.available()
        assert bench.meter.value(BREAKER_OPEN) == 1
        tasks += bench.start("good")
        await asyncio.sleep(0)
        assert not bench.available(), "one reference to try is enough"
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results.pop(), ObjectBody)
        assert {type(result) for result in results} == {Reject}
        assert bench.available()

    run(main())


def test_a_reference_given_up_before_its_first_attempt_is_no_hope_for_the_store() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.outage = refuse
        refused = bench.start("a", "b", "c", "d")
        await asyncio.sleep(1.0)
        (late,) = bench.start("late")
        await asyncio.sleep(60.0)
        (later,) = bench.start("later")
        await asyncio.sleep(0)
        assert not bench.available()
        later.cancel()
        await asyncio.sleep(0)
        assert bench.available()
        bench.store.outage = None
        await asyncio.gather(late, *refused)

    run(main())


def test_a_missing_object_shows_that_the_store_serves() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.scripts |= {"missing": miss, "bad": refuse}
        assert (await bench.rejection("missing")).code == "fetch.not_found"
        assert (await bench.rejection("bad")).code == "fetch.forbidden"

    run(main())


def test_an_outage_is_one_log_line_at_each_end_and_names_no_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.outage = break_off
        tasks = bench.start(*(f"private-{number}" for number in range(10)))
        await asyncio.sleep(300.0)
        bench.store.outage = None
        await asyncio.gather(*tasks)

    with caplog.at_level(logging.INFO, "pipeline.fetch"):
        run(main())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "out of service" in lines[0]
    assert "fetch.failed" in lines[0]
    assert "back after 30" in lines[1]
    assert not any("private" in line for line in lines)


def test_the_store_is_asked_although_nobody_waits_for_it_any_more() -> None:
    async def main() -> None:
        bench = Bench()
        await asyncio.gather(*bench.start("good-1", "good-2"))
        bench.store.outage = break_off
        waiting = bench.start(*(f"image-{number}" for number in range(6)))
        await asyncio.sleep(20.0)
        assert not bench.available()
        await bench.give_up(waiting)
        bench.store.outage = None
        await asyncio.sleep(BREAKER.open_s + 1.0)
        assert bench.available()

    run(main())


def test_a_store_that_never_answered_lets_a_reference_in_when_those_that_waited_are_gone() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.outage = break_off
        waiting = bench.start(*(f"image-{number}" for number in range(12)))
        await asyncio.sleep(3.0)
        assert not bench.available()
        await bench.give_up(waiting)
        bench.store.outage = None
        assert bench.available()
        assert (await bench.fetch("next")).body == b"image"

    run(main())


def test_a_crowd_of_bad_objects_opens_no_breaker_while_the_store_serves() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("good")
        for number in range(40):
            bench.store.scripts[f"bad-{number}"] = (break_off, refuse)[number % 2]
        bad = bench.start(*(f"bad-{number}" for number in range(40)))
        assert bench.meter.values(BREAKER_OPEN) == [0]
        results = await asyncio.gather(*bad, return_exceptions=True)
        assert {type(result) for result in results} == {Reject}
        assert bench.meter.values(BREAKER_OPEN) == [0]

    run(main())


def test_an_object_that_was_locked_since_it_was_read_does_not_open_the_breaker() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("good")
        await bench.fetch("locked")
        for key in ("locked", *(f"bad-{number}" for number in range(20))):
            bench.store.scripts[key] = refuse
        await asyncio.gather(
            *bench.start(*(f"bad-{number}" for number in range(20))), return_exceptions=True
        )
        assert bench.meter.values(BREAKER_OPEN) == [0]

    run(main())


def test_a_bucket_that_was_read_last_and_is_locked_does_not_hide_that_others_are_served() -> None:
    async def main() -> None:
        bench = Bench(allows_all=True)
        await bench.fetch("other", bucket="others")
        for key in ("one", "two"):
            await bench.fetch(key)
        bench.store.refused_bucket = "images"
        tasks = [asyncio.create_task(bench.fetch(f"image-{number}")) for number in range(10)]
        await asyncio.sleep(4 * BREAKER.open_s)
        assert bench.available()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {Reject}

    run(main())


@pytest.mark.parametrize(
    "error", [Halt("s3.no_credentials", "none"), MemoryError(), OSError(24, "")]
)
def test_a_reason_of_this_process_not_to_ask_is_raised_by_the_next_fetch(error: Exception) -> None:
    async def broken() -> bytes:
        raise error

    async def main() -> None:
        bench = Bench()
        await bench.fetch("good")
        bench.store.outage = break_off
        waiting = bench.start("a", "b", "c", "d")
        await asyncio.sleep(2.0)
        assert not bench.available()
        bench.store.outage = broken
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert results == [error] * 4
        assert bench.available(), "a reference must come, to raise it"
        with pytest.raises(type(error)):
            await bench.fetch("next")

    run(main())


def test_closing_ends_what_asks_for_the_store() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.fetch("good")
        bench.store.outage = break_off
        waiting = bench.start("a", "b", "c", "d")
        await asyncio.sleep(2.0)
        for task in waiting:
            task.cancel()
        await bench.fetcher.close()
        asked = len(bench.store.asked)
        await asyncio.sleep(60.0)
        assert len(bench.store.asked) == asked

    run(main())


def test_a_clock_that_the_store_finds_wrong_is_an_outage_that_names_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def skewed() -> bytes:
        raise Answers("s3").failure(403, "RequestTimeTooSkewed", versioned=False)

    async def main() -> None:
        bench = Bench()
        await bench.fetch("before")
        bench.store.outage = skewed
        tasks = bench.start(*(f"image-{number}" for number in range(10)))
        await asyncio.sleep(HOUR_S)
        assert not any(task.done() for task in tasks)
        assert not bench.available()
        bench.store.outage = None
        await asyncio.gather(*tasks)

    with caplog.at_level(logging.WARNING, "pipeline.fetch"):
        run(main())
    assert "RequestTimeTooSkewed; set this machine's clock" in caplog.records[0].getMessage()


def test_a_store_that_fails_is_named_with_its_reason_until_it_answers() -> None:
    async def main() -> None:
        bench = Bench()
        bench.store.scripts["only"] = refuse
        (task,) = bench.start("only")
        await asyncio.sleep(HOUR_S)
        assert (bench.fetcher.trouble or "").startswith("the store: fetch.")
        bench.store.scripts.clear()
        await task
        assert bench.fetcher.trouble is None

    run(main())
