"""The console's view of a stream on a real broker: outcomes once they are committed, dead letters,
and replays that send exactly what was shown."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.watching.tail import OutcomeTail
from pipeline.adapters.kafka.watching.topics import KafkaTopics
from pipeline.errors import Halt
from pipeline.records import Record
from pipeline.replay import Search, Selection
from tests.rigs.serve.published import Worker
from tests.rigs.services.kafka_deployment import DEADLINE_S, Deployment
from workers.serve.caller import ANYBODY
from workers.serve.live.fanout import Filter, Reader
from workers.serve.live.letters import Letters
from workers.serve.live.replays import Asked, Replays
from workers.serve.live.watch import Watch

pytestmark = pytest.mark.component


class Stage(Worker):
    """A worker, and the console's view of its topics."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(deployment)
        self.topics = KafkaTopics(deployment.kafka, deployment.delivery)


@pytest.fixture
def stage(kafka_bootstrap: str) -> Iterator[Stage]:
    with Deployment(kafka_bootstrap) as deployment:
        yield Stage(deployment)


def test_outcomes_are_seen_live_once_they_are_committed_and_aborted_ones_never(
    stage: Stage,
) -> None:
    async def names(reader: Reader, count: int) -> list[str]:
        taken: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(taken) < count:
                taken += [outcome.subject.rpartition("/")[2] for outcome in reader.take(100)]
                await asyncio.sleep(0.02)
        return taken

    async def look() -> None:
        watch = Watch(stage.topics, SystemClock())
        try:
            with watch.joined(ANYBODY, Filter()) as reader:
                assert sorted(await names(reader, 2)) == ["before.jpg", "dead.jpg"]
                await asyncio.to_thread(stage.abort, stage.classified("aborted.jpg"))
                await asyncio.to_thread(stage.publish, stage.classified("after.jpg"))
                assert await names(reader, 1) == ["after.jpg"]
                async with asyncio.timeout(DEADLINE_S):
                    while watch.lag is None:  # noqa: ASYNC110 - of another thread
                        await asyncio.sleep(0.02)
                assert watch.trouble is None
        finally:
            await watch.close()

    stage.abort(stage.classified("aborted-before.jpg"))
    stage.publish(stage.classified("before.jpg"), stage.dead("dead.jpg"))
    before = threading.active_count()
    asyncio.run(look())
    assert threading.active_count() <= before


def test_a_reader_begins_a_little_before_the_end(stage: Stage) -> None:
    for number in range(12):
        stage.publish(*(stage.classified(f"{number}-{each}.jpg") for each in range(10)))
    with OutcomeTail(stage.deployment.kafka, 10) as tail:
        seen: list[Record] = []
        deadline = time.monotonic() + DEADLINE_S
        while not any("11-9.jpg" in str(record.value) for record in seen):
            assert time.monotonic() < deadline
            seen += tail.poll(0.1)
    # They are all in one partition, and each partition has its share of the bound.
    assert 5 <= len(seen) <= 10


def test_a_topic_that_is_missing_is_said(stage: Stage) -> None:
    kafka = stage.deployment.kafka
    outputs = kafka.output_topics.model_copy(update={"classifications": "missing"})
    missing = kafka.model_copy(update={"output_topics": outputs})
    with pytest.raises(Halt, match=r"kafka\.topic_missing.*missing"), OutcomeTail(missing, 10):
        pass


def test_dead_letters_are_counted_and_replayed_exactly_once(stage: Stage) -> None:
    async def ask() -> None:
        clock = SystemClock()
        letters, replays = Letters(stage.topics, clock), Replays(stage.topics, clock)
        survey = await letters.survey(ANYBODY)
        assert {code: each.count for code, each in survey.codes.items()} == {
            "fetch.not_found": 5,
            "decode.corrupt": 1,
        }
        assert survey.whole
        asked = Asked(Selection(codes=("fetch.*",)), limit=3)
        shown = await replays.show(ANYBODY, asked)
        assert shown["would_send"] == 3
        assert shown["topics"] == {stage.deployment.input: 3}
        token = shown["token"]
        assert isinstance(token, str)
        await asyncio.to_thread(stage.publish, stage.dead("late.jpg"))
        assert await replays.send(ANYBODY, asked, token) == {"sent": 3, "skipped": {}}
        # Another replica knows nothing of the first, and sends nothing twice.
        again = await Replays(stage.topics, clock).send(ANYBODY, asked, token)
        assert again == {"sent": 0, "skipped": {"replayed before": 3}}
        rest = await asyncio.to_thread(stage.topics.find, Search(Selection()), lambda read: None)
        assert len(rest.due) == 4
        survey = await Letters(stage.topics, clock).survey(ANYBODY)
        assert survey.codes["fetch.not_found"].replayed == 3

    stage.publish(*(stage.dead(f"{n}.jpg") for n in range(5)))
    stage.publish(stage.dead("corrupt.jpg", "decode.corrupt"))
    asyncio.run(ask())
    polling = stage.polling
    polling.until(lambda: len(polling.records) >= 3)
    assert len({record.value for record in polling.records}) == 3


def test_an_open_transaction_holds_no_survey_up(stage: Stage) -> None:
    stage.publish(stage.dead("committed.jpg"))
    with stage.open_transaction(stage.dead("open.jpg")):
        survey = asyncio.run(Letters(stage.topics, SystemClock()).survey(ANYBODY))
    assert survey.letters == 1


def test_a_look_back_reads_the_newest_letters_first_and_no_more_than_its_bounds(
    stage: Stage,
) -> None:
    for number in range(4):
        stage.publish(*(stage.dead(f"{number}-{each}.jpg") for each in range(10)))
    now_ms = round(time.time() * 1000)
    with stage.topics.newest_letters(now_ms - 3_600_000, 100_000) as (whole, windows):
        assert whole
        assert sum(len(records) for window in windows for records in window) == 40
    # One partition has all of them, and each its share of the bound. A transaction takes an offset.
    with stage.topics.newest_letters(now_ms - 3_600_000, 22) as (whole, windows):
        assert not whole
        names = [str(each.value) for window in windows for records in window for each in records]
    assert len(names) == 10
    assert all("3-" in name for name in names)
    with stage.topics.newest_letters(now_ms + 3_600_000, 100_000) as (whole, windows):
        assert whole
        assert [records for window in windows for records in window if records] == []
