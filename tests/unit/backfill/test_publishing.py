"""A publisher of a job over a broker in memory: whatever fails, each row becomes visible once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.backfill.marks import Mark, Published
from pipeline.errors import CommitDoubtful, Halt, OutcomeTooLarge, Retry, StoreDenied
from pipeline.events import EventsPolicy
from pipeline.events.backfill import BackfillEvents
from pipeline.ports import StoredFile
from pipeline.records import OutputRecord, OutputTopic
from tests.rigs.backfill.written import WrittenJob, classified, mixed
from workers.backfill.publishing import Commits, Destination, JobPublisher, Progress, lanes_of
from workers.backoff import Backoff

SHARD_ROWS = 10
SMALL = Commits(3, 10**6)


@dataclass
class Broker:
    """Keeps what transactions made visible. ``fate`` decides what becomes of the next one."""

    fate: Callable[[], str] = lambda: "committed"
    visible: list[OutputRecord] = field(default_factory=list)
    transactions: list[int] = field(default_factory=list)
    marks: dict[int, str] = field(default_factory=dict)
    max_bytes: int = 10**6

    def rows(self) -> Counter[tuple[int, int]]:
        counted: Counter[tuple[int, int]] = Counter()
        for record in self.visible:
            if record.topic is OutputTopic.CLASSIFICATIONS:
                job = json.loads(record.value)["job"]
                counted[job["shard"], job["row"]] += 1
            elif record.topic is OutputTopic.DEAD_LETTERS:
                headers = dict(record.headers)
                counted[int(headers["dlq.shard"]), int(headers["dlq.row"])] += 1
        return counted


class MemoryLane:
    """Implements ``workers.backfill.publishing.Lane``."""

    def __init__(self, broker: Broker, number: int) -> None:
        self._broker = broker
        self._number = number
        self.ready = False

    def take(self) -> Mark | None:
        if self._broker.fate() == "unavailable":
            raise Retry("kafka.unavailable", "kafka: no answer")
        self.ready = True
        found = self._broker.marks.get(self._number)
        return None if found is None else Mark.parse(found)

    def publish(self, records: Sequence[OutputRecord], mark: Mark) -> None:
        assert self.ready
        for index, record in enumerate(records):
            if record.size_bytes > self._broker.max_bytes:
                raise OutcomeTooLarge(index, f"{record.size_bytes} bytes are too many")
        fate = self._broker.fate()
        if fate in ("committed", "answer lost"):
            self._broker.visible += records
            self._broker.transactions.append(len(records))
            self._broker.marks[self._number] = str(mark)
        if fate != "committed":
            self.ready = False
            if fate == "fenced for good":
                raise Halt("kafka.fenced", "kafka: fenced for the second time")
            raise CommitDoubtful("kafka.publish_failed", "kafka: no answer")

    def close(self) -> None:
        self.ready = False


def publish(
    broker: Broker,
    job: WrittenJob,
    share: str = "1/1",
    *,
    again: bool = False,
    stopped: Callable[[float], bool] = lambda seconds: False,
    commits: Commits = SMALL,
) -> Progress:
    publisher = JobPublisher(
        job.folder,
        job.job,
        Destination("cluster", "marks", lambda number: MemoryLane(broker, number)),
        BackfillEvents(EventsPolicy(), "1"),
        commits,
        Backoff(HandClock(), Random(1)),
        stopped,
    )
    return publisher.run(lanes_of(share), again=again)


def job_of(*committed: int, shards: int = 40) -> WrittenJob:
    job = WrittenJob(MemoryFolder(), shards, SHARD_ROWS)
    job.commit(committed)
    return job


def outcomes(job: WrittenJob, *shards: int) -> Counter[tuple[int, int]]:
    return Counter(
        (shard, row.number) for shard in shards for row in job.rows(shard) if mixed(row) is not None
    )


@pytest.mark.parametrize("seed", range(8))
def test_whatever_transactions_come_to_each_row_is_visible_once(seed: int) -> None:
    rng = Random(seed)
    fates = ["committed", "committed", "aborted", "answer lost", "unavailable"]
    broker = Broker(lambda: rng.choice(fates))
    job = job_of()
    shards = list(range(0, 40, 3))
    rng.shuffle(shards)
    while shards:
        job.commit([shards.pop() for _ in range(min(len(shards), 4))])
        # A signal may come at any moment.
        publish(broker, job, stopped=lambda seconds: rng.random() < 0.02)
    broker.fate = lambda: "committed"
    assert publish(broker, job).left == 0
    assert broker.rows() == outcomes(job, *range(0, 40, 3))


def test_a_transaction_holds_no_more_than_it_may() -> None:
    broker, job = Broker(), job_of(0)
    publish(broker, job, commits=Commits(100, 3_000))
    assert len(broker.transactions) > 2
    assert max(broker.transactions) < 8
    assert broker.rows() == outcomes(job, 0)


def test_a_shard_without_outcomes_is_published_by_its_mark_alone() -> None:
    broker, job = Broker(), job_of()
    job.commit([7], lambda row: None)
    assert publish(broker, job).published == 1
    assert (broker.visible, broker.marks) == ([], {7: "7"})


def test_rows_are_published_in_the_order_of_the_plan() -> None:
    broker, job = Broker(), job_of(5)
    publish(broker, job)
    assert list(broker.rows()) == sorted(outcomes(job, 5))


def test_a_job_without_embeddings_has_none_to_publish() -> None:
    broker, job = Broker(), job_of()
    job.commit([0], classified, dimension=None)
    publish(broker, job)
    assert {record.topic for record in broker.visible} == {OutputTopic.CLASSIFICATIONS}


def test_a_publisher_of_a_share_leaves_the_other_lanes_alone() -> None:
    broker, job = Broker(), job_of(0, 1, 2, 3, 16, 17)
    progress = publish(broker, job, "2/2")
    assert (progress.published, progress.missing) == (3, 17)
    assert broker.rows() == outcomes(job, 1, 3, 17)


@pytest.mark.parametrize("share", ["", "0/1", "2/1", "1/17", "1", "a/b", "1/2/3"])
def test_a_share_is_a_part_of_at_most_sixteen(share: str) -> None:
    with pytest.raises(Halt) as halted:
        lanes_of(share)
    assert halted.value.code == "backfill.invalid_share"


def test_a_lost_mark_halts_and_again_begins_anew() -> None:
    broker, job = Broker(), job_of(0)
    publish(broker, job)
    broker.marks.clear()
    with pytest.raises(Halt) as halted:
        publish(broker, job)
    assert halted.value.code == "backfill.mark_lost"
    assert publish(broker, job, again=True).rows == len(outcomes(job, 0))
    assert set(broker.rows().values()) == {2}
    assert publish(broker, job).rows == 0


def test_a_copy_of_a_mark_that_is_behind_does_no_harm() -> None:
    broker, job = Broker(), job_of(0, 16)
    publish(broker, job)
    name = layout.published_file("cluster", 0)
    job.folder.write(name, Published(topic="marks", mark="0").as_bytes())
    assert publish(broker, job).rows == 0


def test_another_publisher_that_has_taken_over_is_named() -> None:
    broker, job = Broker(lambda: "fenced for good"), job_of(0)
    with pytest.raises(Halt) as halted:
        publish(broker, job)
    assert halted.value.code == "backfill.second_publisher"


def test_a_letter_that_fits_nowhere_halts() -> None:
    broker, job = Broker(max_bytes=10), job_of(0)
    with pytest.raises(Halt) as halted:
        publish(broker, job)
    assert halted.value.code == "publish.too_large"


def test_a_store_that_refuses_access_ends_the_publisher() -> None:
    class Closed(MemoryFolder):
        def read(self, name: str) -> StoredFile | None:
            if name.startswith(layout.DATA):
                raise StoreDenied("s3.denied", "no access")
            return super().read(name)

    job = WrittenJob(Closed(), 1, SHARD_ROWS)
    job.commit([0])
    with pytest.raises(StoreDenied):
        publish(Broker(), job)


def test_a_results_file_of_another_program_halts() -> None:
    job = job_of()
    job.folder.write(layout.data_file(3), b"no parquet")
    with pytest.raises(Halt) as halted:
        publish(Broker(), job)
    assert halted.value.code == "backfill.unreadable"


def test_a_file_of_the_job_that_is_gone_halts() -> None:
    job = job_of(3)
    job.folder.delete(layout.plan_file("a1", 3))
    with pytest.raises(Halt) as halted:
        publish(Broker(), job)
    assert halted.value.code == "backfill.plan_missing"
