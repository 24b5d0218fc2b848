"""Events of a job on a real Kafka: each once, whoever publishes and dies."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.backfill.lanes import LanePublisher, group_of
from pipeline.adapters.kafka.backfill.topics import (
    check_marks,
    create_marks,
    require_topics,
    sound_backfill_topics,
)
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, common_options
from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill.marks import Mark
from pipeline.backfill.policy import BackfillTopics
from pipeline.errors import CommitDoubtful, Halt
from pipeline.events import EventsPolicy
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.ports import CheckResult
from pipeline.records import Classification, DeadLetter, OutputRecord
from tests.rigs.backfill.written import WrittenJob, classified, mixed
from tests.rigs.waiting import eventually
from workers.backfill.publishing import Commits, Destination, JobPublisher, Progress, lanes_of
from workers.backoff import Backoff
from workers.commands.backfill import publish as publish_command
from workers.commands.backfill.commands import app
from workers.commands.doctor import NewTopics, _backfill_topics
from workers.settings.loading import Settings

pytestmark = [pytest.mark.component]

ALL_LANES = range(16)
SHARDS, SHARD_ROWS = 17, 8
SOME = (0, 1, 2, 16)
"""Shards of three lanes."""


@dataclass
class Broker:
    """Topics of a test's own on the session's Kafka."""

    kafka: KafkaPolicy
    topics: BackfillTopics
    delivery: DeliveryPolicy = field(default_factory=DeliveryPolicy)

    def lane(self, job: WrittenJob, number: int) -> LanePublisher:
        return LanePublisher(self.kafka, self.delivery, self.topics, job.job.id, number)

    def visible(self, topic: str) -> list[Any]:
        """The records that readers of committed transactions see, once all transactions are
        over."""

        def consumer(level: str) -> Any:
            options = common_options(self.kafka, "test") | {"isolation_level": level}
            return closing(connect(KafkaConsumer, options | {"enable_auto_commit": False}))

        with consumer("read_committed") as committed, consumer("read_uncommitted") as every:
            tps = [TopicPartition(topic, n) for n in committed.partitions_for_topic(topic)]
            eventually(lambda: committed.end_offsets(tps) == every.end_offsets(tps))
            committed.assign(tps)
            committed.seek_to_beginning(*tps)
            ends = committed.end_offsets(tps)
            seen: list[Any] = []
            while any(committed.position(tp) < ends[tp] for tp in tps):
                for records in committed.poll(timeout_ms=50).values():
                    seen += records
        return seen

    def rows(self, topic: str) -> Counter[tuple[int, int]]:
        """How often each row is in a topic."""
        rows: Counter[tuple[int, int]] = Counter()
        for record in self.visible(topic):
            headers = {name: value.decode() for name, value in record.headers}
            if "dlq.row" in headers:
                rows[int(headers["dlq.shard"]), int(headers["dlq.row"])] += 1
            elif headers["content-type"] == "application/json":
                job = json.loads(record.value)["job"]
                rows[job["shard"], job["row"]] += 1
            else:
                rows[hash(headers["ce_id"]), 0] += 1
        return rows

    def judge(self, job: WrittenJob, shards: Sequence[int]) -> None:
        """Each row of these shards has its events once, and no other row has any."""
        wanted: dict[type, set[tuple[int, int]]] = {Classification: set(), DeadLetter: set()}
        for shard in shards:
            for row in job.rows(shard):
                outcome = mixed(row)
                if outcome is not None:
                    wanted[type(outcome)].add((shard, row.number))
        found = self.rows(self.topics.classifications)
        assert found == Counter(dict.fromkeys(wanted[Classification], 1))
        found = self.rows(self.topics.dead_letters)
        assert found == Counter(dict.fromkeys(wanted[DeadLetter], 1))
        embeddings = self.rows(self.topics.embeddings)
        assert set(embeddings.values()) <= {1}
        assert len(embeddings) == len(wanted[Classification])


def opened(bootstrap: str, **options: Any) -> Broker:
    name = f"b{uuid.uuid4().hex[:10]}"
    kafka = KafkaPolicy(bootstrap_servers=(bootstrap,), transactional_id_prefix=name, **options)
    topics = BackfillTopics(
        classifications=f"{name}.classifications",
        embeddings=f"{name}.embeddings",
        dead_letters=f"{name}.dead-letters",
        marks=f"{name}.marks",
    )
    with KafkaAdmin(kafka) as admin:
        admin.create_topics(sound_backfill_topics(kafka, topics), 2, 1)
        create_marks(admin, topics, 1)
    return Broker(kafka, topics)


@pytest.fixture
def broker(kafka_bootstrap: str) -> Broker:
    return opened(kafka_bootstrap)


@pytest.fixture
def job() -> WrittenJob:
    return WrittenJob(MemoryFolder(), SHARDS, SHARD_ROWS)


def publisher(
    broker: Broker,
    job: WrittenJob,
    open_lane: Callable[[int], Any] | None = None,
    *,
    outcomes: int = 3,
    stopped: Callable[[float], bool] = lambda seconds: False,
) -> JobPublisher:
    return JobPublisher(
        job.folder,
        job.job,
        Destination("cluster", broker.topics.marks, open_lane or (lambda n: broker.lane(job, n))),
        BackfillEvents(EventsPolicy(), "1"),
        Commits(outcomes, 1_000_000),
        Backoff(HandClock(), Random(1)),
        stopped,
    )


def publish(broker: Broker, job: WrittenJob, lanes: Iterable[int] = ALL_LANES) -> Progress:
    return publisher(broker, job).run(list(lanes))


class Killed(Exception):
    """The process has ended here."""


class Dying:
    """A lane whose process dies at a transaction: before it, within it, or after it."""

    def __init__(self, lane: LanePublisher, after: int, how: str) -> None:
        self._lane = lane
        self._left = after
        self._how = how

    @property
    def ready(self) -> bool:
        return self._lane.ready

    def take(self) -> Mark | None:
        return self._lane.take()

    def publish(self, records: Sequence[OutputRecord], mark: Mark) -> None:
        self._left -= 1
        if self._left >= 0:
            self._lane.publish(records, mark)
            return
        if self._how == "within":
            producer: Any = self._lane._sink._producer
            producer.begin_transaction()
            self._lane._sink._send(producer, tuple(records))
        if self._how == "after":
            self._lane.publish(records, mark)
        raise Killed

    def close(self) -> None:
        self._lane.close()


def dying_lane(broker: Broker, job: WrittenJob, after: int, how: str, number: int) -> Dying:
    return Dying(broker.lane(job, number), after, how)


def test_each_row_is_published_once_and_a_second_run_finds_nothing(
    broker: Broker, job: WrittenJob
) -> None:
    job.commit(SOME)
    first = publish(broker, job)
    assert (first.published, first.left, first.missing) == (4, 0, SHARDS - 4)
    broker.judge(job, SOME)
    again = publish(broker, job)
    assert (again.published, again.rows) == (4, 0)
    broker.judge(job, SOME)


@pytest.mark.parametrize("how", ["before", "within", "after"])
def test_a_publisher_that_dies_at_any_transaction_leaves_each_row_once(
    broker: Broker, job: WrittenJob, how: str
) -> None:
    job.commit([0, 16])
    deaths = 0
    for after in (0, 1, 2, 0, 1, 9):
        dying = publisher(broker, job, partial(dying_lane, broker, job, after, how))
        try:
            dying.run([0])
        except Killed:
            deaths += 1
    assert deaths >= 3
    publish(broker, job)
    broker.judge(job, [0, 16])


def test_a_job_that_still_runs_is_published_as_far_as_it_is_committed(
    broker: Broker, job: WrittenJob
) -> None:
    job.commit([16, 3])
    progress = publish(broker, job)
    assert (progress.published, progress.left, progress.missing) == (2, 0, SHARDS - 2)
    assert "15 shards are not committed yet" in str(progress)
    broker.judge(job, [16, 3])
    job.commit([0])
    assert publish(broker, job).left == 0
    broker.judge(job, [0, 16, 3])


def test_several_publishers_share_a_job_and_their_number_may_change(
    broker: Broker, job: WrittenJob
) -> None:
    job.commit(SOME)
    publish(broker, job, lanes_of("2/3"))
    publish(broker, job, lanes_of("1/2"))
    publish(broker, job, lanes_of("2/2"))
    broker.judge(job, SOME)


def test_a_second_publisher_of_a_lane_fences_the_first_and_repeats_nothing(
    broker: Broker, job: WrittenJob
) -> None:
    job.commit([0, 16])
    outcome = classified(job.rows(0)[0])
    row = BackfilledRow(job.job.id, 0, 0, "ab" * 16)
    records = BackfillEvents(EventsPolicy(), "1").records(row, outcome)
    with closing(broker.lane(job, 0)) as first:
        assert first.take() is None
        publish(broker, job)
        with pytest.raises(CommitDoubtful, match="is fenced"):
            first.publish(records, Mark().within(0, 1))
        assert first.take() == Mark(frozenset({0, 16}))
    broker.judge(job, [0, 16])


def test_two_publishers_that_take_a_lane_from_each_other_end_with_one(
    broker: Broker, job: WrittenJob
) -> None:
    job.commit([0, 16])
    other = broker.lane(job, 0)

    class Contested(Dying):
        """Another publisher takes the lane before each of this one's first transactions."""

        def publish(self, records: Sequence[OutputRecord], mark: Mark) -> None:
            other.take()
            self._lane.publish(records, mark)

    with closing(other), pytest.raises(Halt) as halted:
        publisher(broker, job, lambda n: Contested(broker.lane(job, n), 0, "")).run([0])
    assert halted.value.code == "backfill.second_publisher"
    publish(broker, job)
    broker.judge(job, [0, 16])


def test_a_mark_that_kafka_has_forgotten_halts_until_a_person_says_again(
    broker: Broker, job: WrittenJob
) -> None:
    job.commit([3])
    publish(broker, job)
    with KafkaAdmin(broker.kafka) as admin:
        admin.client.delete_groups([group_of(broker.kafka, job.job.id)])
    with pytest.raises(Halt) as halted:
        publish(broker, job)
    assert halted.value.code == "backfill.mark_lost"
    publisher(broker, job).run([3], again=True)
    found = broker.rows(broker.topics.classifications)
    assert set(found.values()) == {2}


def test_what_does_not_fit_is_published_as_a_dead_letter_and_perhaps_without_its_payload(
    kafka_bootstrap: str,
) -> None:
    # The first text fits a dead letter, the second one does not.
    job = WrittenJob(MemoryFolder(), 1, SHARD_ROWS, texts={1: 5_000, 3: 90_000})
    job.commit([0], classified)
    small = opened(kafka_bootstrap, max_input_bytes=4_000)
    publish(small, job)
    normal = [(0, number) for number in range(SHARD_ROWS) if number not in (1, 3)]
    assert small.rows(small.topics.classifications) == Counter(normal)
    assert small.rows(small.topics.dead_letters) == Counter([(0, 1), (0, 3)])
    letters = [dict(each.headers) for each in small.visible(small.topics.dead_letters)]
    assert {each["dlq.code"] for each in letters} == {b"publish.too_large"}
    assert sorted(each["dlq.payload"] for each in letters) == [b"omitted", b"reference"]


def test_the_command_publishes_what_the_output_holds_and_says_what_is_left(
    broker: Broker, job: WrittenJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job.commit(SOME)
    file = tmp_path / "settings.yaml"
    kafka = broker.kafka.model_dump(include={"bootstrap_servers", "transactional_id_prefix"})
    written = {"kafka": kafka, "backfill": {"topics": broker.topics.model_dump()}}
    file.write_text(json.dumps(written, default=list))
    monkeypatch.setattr(publish_command, "open_output", lambda *_: job.folder)

    def typed(*options: str) -> Any:
        command = ["publish", "s3://derived/2024", "-c", str(file), *options]
        return CliRunner().invoke(app, command)

    first = typed("--share", "1/2")
    assert first.exit_code == 0, first.output
    assert "3 of 3 committed shards are published, 6 shards are not committed yet" in first.output
    second = typed()
    assert "4 of 4 committed shards are published" in second.output
    broker.judge(job, SOME)
    empty = MemoryFolder()
    monkeypatch.setattr(publish_command, "open_output", lambda *_: empty)
    refused = typed()
    assert isinstance(refused.exception, Halt)
    assert refused.exception.code == "backfill.no_job"


def test_the_doctor_creates_the_topics_that_a_job_is_published_to(broker: Broker) -> None:
    named = {key: f"{name}-2" for key, name in broker.topics}
    settings = Settings.model_validate({"kafka": broker.kafka, "backfill": {"topics": named}})
    before = [check.result for check in _backfill_topics(settings, None)]
    assert before == [CheckResult.FAILED] * 4
    list(_backfill_topics(settings, NewTopics(2, 1)))
    after = [check.result for check in _backfill_topics(settings, None)]
    assert CheckResult.FAILED not in after
    with KafkaAdmin(broker.kafka) as admin:
        assert require_topics(admin, settings.backfill.topics)


def test_the_doctor_wants_a_partition_of_marks_for_each_lane(broker: Broker) -> None:
    few = broker.topics.model_copy(update={"marks": broker.topics.classifications})
    gone = broker.topics.model_copy(update={"embeddings": "nowhere"})
    with KafkaAdmin(broker.kafka) as admin:
        assert require_topics(admin, broker.topics)
        assert [each.result for each in check_marks(admin, broker.topics)] == [CheckResult.PASSED]
        assert [each.result for each in check_marks(admin, few)] == [CheckResult.FAILED]
        for topics in (few, gone):
            with pytest.raises(Halt) as halted:
                require_topics(admin, topics)
            assert halted.value.code == "kafka.topic_missing"
