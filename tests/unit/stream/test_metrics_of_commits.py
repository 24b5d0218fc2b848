"""The metrics of a worker's commits, of what waits for them and of what it owns."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from pipeline import metrics
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.commit.order import Order
from pipeline.commit.settled import DeadLettered, PassedOver
from pipeline.metrics import Metric
from pipeline.records import DeadLetter, Epoch, Origin
from tests.rigs.workers.committing import BYTES, PARTITION, TOPIC, Worker
from workers.stages import tell_model


def started(order: Order = "key") -> Worker:
    """A worker that owns the partition and has nothing to do."""
    worker = Worker(order=order)
    worker.finish(0)
    worker.cycle(2)
    return worker


def skip(worker: Worker, reason: str, timestamp_ms: int = 0) -> None:
    """A record that held nothing to classify."""
    origin, epoch = begun(worker, timestamp_ms)
    worker.window.settle(epoch, PassedOver(origin, reason))


def lose(worker: Worker) -> None:
    """A record that the broker could not return, whose time nobody knows."""
    origin, epoch = begun(worker, -1)
    worker.window.settle(epoch, DeadLettered(origin, (), DeadLetter("record.corrupt", "crc", 4)))


def begun(worker: Worker, timestamp_ms: int) -> tuple[Origin, Epoch]:
    worker.broker.produce(PARTITION, b"{}")
    ((position, epoch),) = worker._poll(1)
    return Origin(position, 0, timestamp_ms), epoch


def total(worker: Worker, metric: Metric, **labels: str) -> float:
    return worker.meter.value(metric, **labels) or 0


def counted(worker: Worker) -> dict[str, float]:
    return {
        "classified": total(worker, metrics.REFERENCES, outcome="classified"),
        "dead_letter": total(worker, metrics.REFERENCES, outcome="dead_letter"),
        "skipped": total(worker, metrics.REFERENCES, outcome="skipped"),
        "fetch.not_found": total(worker, metrics.DEAD_LETTERS, code="fetch.not_found"),
        "folder": total(worker, metrics.SKIPPED, reason="folder"),
    }


def test_outcomes_are_counted_once_committed_by_what_became_of_them() -> None:
    worker = started()
    worker.finish(3)
    worker.finish(2, "fetch.not_found")
    skip(worker, "folder")
    worker.cycle()
    assert counted(worker) == {
        "classified": 3,
        "dead_letter": 2,
        "skipped": 1,
        "fetch.not_found": 2,
        "folder": 1,
    }
    worker.cycle(5)
    assert sum(counted(worker).values()) == 9


def test_outcomes_that_wait_for_their_commit_are_held_and_not_counted() -> None:
    worker = started("partition")
    worker.begin()  # the head of the partition, whose image takes long
    worker.finish(2)
    worker.finish(1, "fetch.not_found")
    skip(worker, "folder")
    worker.cycle(4)
    assert sum(counted(worker).values()) == 0
    assert worker.sample("in_flight_references") == 5
    assert worker.sample("in_flight_bytes") == 3 * BYTES


def test_outcomes_that_wait_for_nobody_are_no_lag() -> None:
    worker = started()
    worker.begin()  # the head of the partition, whose image takes long
    worker.finish(3)
    worker.cycle(2)
    assert counted(worker)["classified"] == 3
    assert worker.sample("in_flight_references") == 1
    assert worker.sample("consumer_lag_records", topic=TOPIC, partition="0") == 1
    assert worker.sample("done_ahead_records") == 3


def test_what_is_committed_is_no_longer_held() -> None:
    worker = started()
    worker.finish(3)
    worker.cycle(2)
    for name in (
        "in_flight_references",
        "in_flight_bytes",
        "oldest_unfinished_seconds",
        "done_ahead_records",
    ):
        assert worker.sample(name) == 0
    assert worker.sample("consumer_lag_records", topic=TOPIC, partition="0") == 0


def test_an_image_that_takes_long_does_not_age_commits() -> None:
    worker = started()
    worker.begin()
    worker.finish(5)
    worker.clock.now += 60
    worker.cycle(2)
    assert worker.sample("oldest_unfinished_seconds") > 60
    assert worker.sample("commit_age_seconds") == 0


def timed_commits(worker: Worker) -> int:
    return len(worker.meter.values(metrics.STAGE_SECONDS, stage="commit"))


def test_a_commit_that_succeeds_is_counted_and_timed() -> None:
    worker = started()
    worker.finish(3)
    worker.cycle()
    assert (worker.sample("commits_total"), timed_commits(worker)) == (1, 1)
    assert worker.sample("commit_failures_total") == 0


def test_a_commit_that_is_lost_is_a_failure() -> None:
    worker = started()
    worker.stream.most_bytes = 0
    worker.finish(3)
    worker.cycle()
    assert (worker.sample("commits_total"), timed_commits(worker)) == (0, 0)
    assert worker.sample("commit_failures_total") == 1
    assert worker.sample("last_progress_timestamp_seconds") == 0


def test_a_commit_found_done_after_all_succeeded() -> None:
    worker = started()
    worker.finish(3)
    worker.broker.commit_faults.append("applied")
    worker.cycle()
    assert worker.sample("commits_total") == 0
    worker.cycle()
    assert worker.sample("commits_total") == 1
    assert worker.sample("commit_failures_total") == 1
    assert worker.sample("commit_age_seconds") == 0


def test_nothing_to_commit_is_no_commit() -> None:
    worker = started()
    worker.cycle(5)
    for name in ("commits_total", "commit_failures_total", "rebalances_total"):
        assert worker.sample(name) == 0


def test_latency_is_from_the_records_time_to_the_commit() -> None:
    worker = started()
    skip(worker, "folder", round(worker.clock.now * 1000))
    worker.clock.now += 7
    worker.cycle()
    assert worker.meter.values(metrics.LATENCY_SECONDS) == [pytest.approx(7.3)]


def test_a_record_without_a_time_has_no_latency() -> None:
    worker = started()
    lose(worker)
    worker.cycle()
    assert worker.meter.values(metrics.LATENCY_SECONDS) == []


def test_a_change_of_assignment_is_counted() -> None:
    worker = started()
    worker.gauges.follow_assignment()
    assert worker.sample("rebalances_total") == 1
    assert worker.sample("assigned_partitions") == 1


def test_a_partition_that_was_revoked_is_no_longer_shown() -> None:
    worker = started()
    labels = {"topic": TOPIC, "partition": "0"}
    assert worker.meter.value(metrics.LAG, **labels) == 0
    worker.window.revoke(PARTITION)
    worker.gauges.forget(PARTITION)
    worker.gauges.follow_assignment()
    worker.cycle(2)
    assert worker.sample("assigned_partitions") == 0
    assert worker.meter.value(metrics.LAG, **labels) is None


def test_progress_is_a_commit_that_finished_a_reference() -> None:
    worker = started()
    worker.finish(1)
    worker.cycle()
    progress = worker.sample("last_progress_timestamp_seconds")
    assert progress == worker.clock.now
    worker.begin()
    worker.cycle(5)
    assert worker.sample("last_progress_timestamp_seconds") == progress


def test_the_model_is_named_by_what_the_worker_runs() -> None:
    meter, encoder = MemoryMeter(metrics.STREAM_WORKER), MemoryEncoder()

    assert meter.labels(metrics.MODEL_INFO) == []
    tell_model(meter, encoder.model)
    model = encoder.model
    named = {
        "model": model.name,
        "revision": model.revision,
        "precision": model.precision,
        "engine": model.engine,
        "version": version("clipstream"),
    }
    assert meter.labels(metrics.MODEL_INFO) == [named]
    assert meter.value(metrics.MODEL_INFO, **named) == 1
