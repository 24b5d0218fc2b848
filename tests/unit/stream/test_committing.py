"""Commits, their bounds and the gauges during an outage, on a simulated clock."""

from __future__ import annotations

import pytest

from pipeline.commit.window import Batch
from pipeline.records import Position
from pipeline.records.progress import Progress
from tests.rigs.workers.committing import BYTES, GROUP, PARTITION, TOPIC, Worker, judged
from tests.rigs.workers.outcomes import classified
from workers.stream.commit_bounds import CommitBounds
from workers.stream.committing import INTERRUPTED_S
from workers.stream.gauges import INTERVAL_S


def batch(outcomes: int, size_bytes: int) -> Batch:
    payload = b"x" * size_bytes
    settled = (
        classified(Position(PARTITION, 0), payload, index=index) for index in range(outcomes)
    )
    return Batch({PARTITION: Progress(1)}, tuple(settled))


# -- bounds ---------------------------------------------------------------------------------


def test_a_commit_holds_no_more_bytes_than_allowed() -> None:
    worker = Worker(max_bytes=10 * BYTES)
    worker.finish(25)
    worker.cycle(4)
    assert worker.stream.tried == [10, 10, 5]


def test_a_full_transaction_of_bytes_does_not_wait_for_its_interval() -> None:
    worker = Worker(max_bytes=10 * BYTES)
    worker.finish(20)
    worker.cycle(2)
    worker.committer.commit_when_due()
    assert worker.stream.tried == [10, 10]


def test_a_batch_that_a_slow_link_loses_comes_again_in_halves_until_it_fits() -> None:
    worker = Worker()
    worker.stream.most_bytes = 9 * BYTES
    worker.finish(64)
    worker.cycle(6)
    assert worker.stream.tried[:3] == [64, 32, 16]
    worker.cycle(60)
    assert worker.broker.committed(GROUP, PARTITION) == 64
    assert len(worker.broker.published) == 64


def test_halving_ends_at_a_single_record_and_commits_grow_back() -> None:
    worker = Worker()
    worker.stream.most_bytes = BYTES - 1
    worker.finish(64)
    worker.cycle(24)
    assert worker.stream.tried[:7] == [64, 32, 16, 8, 4, 2, 1]
    assert set(worker.stream.tried[6:]) == {1}
    worker.stream.most_bytes = 1_000_000
    worker.cycle(60)
    assert worker.broker.committed(GROUP, PARTITION) == 64
    worker.finish(64)
    worker.cycle(1)
    assert worker.stream.tried[-1] == 64


def test_a_commit_found_committed_after_all_does_not_halve() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.finish(64)
    worker.broker.commit_faults.append("applied")
    worker.cycle(2)
    worker.finish(64)
    worker.cycle(2)
    assert worker.stream.tried == [64, 64]
    assert len(worker.broker.published) == 128


def test_bounds_shrink_from_what_was_tried_and_never_exceed_the_settings() -> None:
    bounds = CommitBounds(2000, 16_000)
    bounds.failed(batch(10, 100))
    assert (bounds.outcomes, bounds.bytes) == (5, 500)
    for _ in range(20):
        bounds.succeeded()
    assert (bounds.outcomes, bounds.bytes) == (2000, 16_000)


def test_offsets_without_outcomes_are_never_too_much() -> None:
    bounds = CommitBounds(2000, 16_000)
    bounds.failed(batch(0, 0))
    assert (bounds.outcomes, bounds.bytes) == (2000, 16_000)


def test_outcomes_without_records_say_nothing_of_how_many_bytes_are_too_many() -> None:
    bounds = CommitBounds(2000, 16_000)
    bounds.failed(batch(10, 0))
    assert (bounds.outcomes, bounds.bytes) == (5, 16_000)


# -- an outage of the broker ----------------------------------------------------------------


def test_gauges_go_on_while_nothing_can_be_committed() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.stream.down = True
    worker.stream.most_bytes = 0
    worker.finish(3)
    worker.cycle(1)
    worker.clock.now += 60
    worker.broker.produce(PARTITION, b"{}")
    worker.cycle(1)
    assert not worker.stream.can_commit
    assert worker.sample("oldest_unfinished_seconds") > 60
    assert worker.sample("commit_age_seconds") > 60
    assert worker.sample("in_flight_references") == 3
    assert worker.sample("consumer_lag_records", topic=TOPIC, partition="0") == 4
    assert worker.gauges.lag == 4


def test_gauges_are_updated_at_intervals_and_after_a_change_of_assignment() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.finish(1)
    worker.gauges.update_when_due()
    assert worker.sample("in_flight_references") == 0
    worker.clock.now += INTERVAL_S
    worker.gauges.update_when_due()
    assert worker.sample("in_flight_references") == 1
    worker.gauges.follow_assignment()
    assert worker.gauges.lag is None
    worker.gauges.update_when_due()
    assert worker.gauges.lag == 1


def test_a_worker_that_never_could_commit_is_not_able_to() -> None:
    worker = Worker()
    worker.stream.down = True
    worker.cycle(1)
    assert not worker.able()
    worker.stream.down = False
    worker.cycle(10)
    assert worker.able()


def test_a_short_interruption_is_borne_and_an_outage_is_not() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.stream.most_bytes = 0
    worker.stream.down = True
    worker.finish(1)
    worker.cycle(3)
    assert worker.able()
    worker.clock.now += INTERRUPTED_S
    assert not worker.able()
    worker.stream.most_bytes = 1_000_000
    worker.stream.down = False
    worker.clock.now += 60
    worker.cycle(2)
    assert worker.able()
    assert worker.broker.committed(GROUP, PARTITION) == 1


def test_a_worker_whose_commits_all_fail_is_not_able_though_its_producer_can_be_built() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.stream.most_bytes = 0
    worker.finish(1)
    worker.cycle(2)
    assert worker.able()
    worker.clock.now += INTERRUPTED_S
    worker.cycle(2)
    assert worker.stream.can_commit
    assert not worker.able()
    worker.stream.most_bytes = 1_000_000
    worker.cycle(2)
    assert worker.able()


def test_a_worker_that_has_lost_what_it_could_not_commit_is_able() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.stream.most_bytes = 0
    worker.finish(1)
    worker.cycle(2)
    worker.clock.now += INTERRUPTED_S
    assert not worker.able()
    worker.window.revoke(PARTITION)
    worker.cycle(2)
    assert worker.able()


def test_a_commit_that_failed_and_is_found_done_leaves_the_worker_able() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.broker.commit_faults.append("applied")
    worker.finish(1)
    worker.cycle(2)
    worker.clock.now += INTERRUPTED_S
    assert worker.able()


# -- commits that fail while the broker answers ------------------------------------------------


def test_the_age_of_failing_commits_is_counted_from_the_first_or_from_later() -> None:
    worker = Worker()
    worker.cycle(1)
    worker.stream.most_bytes = 0
    worker.finish(1)
    assert worker.committer.failing_s(since=0.0) == 0.0
    began = worker.clock.now
    worker.cycle(20)
    assert worker.committer.failing_s(since=0.0) == pytest.approx(worker.clock.now - began - 0.3)
    assert worker.committer.failing_s(since=worker.clock.now - 2.0) == pytest.approx(2.0)
    assert worker.committer.failing_s(since=worker.clock.now + 2.0) == 0.0
    worker.stream.most_bytes = 1_000_000
    worker.cycle(20)
    assert worker.committer.failing_s(since=0.0) == 0.0


def test_a_worker_that_gets_no_producer_fails_to_commit() -> None:
    worker = Worker()
    began = worker.clock.now
    worker.stream.down = True
    worker.cycle(20)
    assert worker.committer.failing_s(since=began) == pytest.approx(worker.clock.now - began)


def test_what_waits_for_its_images_does_not_fail_to_be_committed() -> None:
    """As during an outage of the store that begins after commits have failed."""
    worker = Worker()
    worker.cycle(1)
    worker.stream.most_bytes = 0
    worker.finish(1)
    worker.cycle(2)
    assert worker.committer.failing_s(since=0.0) > 0
    worker.window.assign(PARTITION, Progress(1))
    worker.begin()
    worker.cycle(20)
    assert not worker.window.idle
    assert worker.committer.failing_s(since=0.0) == 0.0
    assert worker.able()


def test_what_is_held_back_does_not_fail_to_be_committed() -> None:
    worker = Worker(gate=judged)
    worker.cycle(1)
    worker.stream.most_bytes = 0
    worker.finish(2)
    worker.cycle(2)
    worker.finish(3, "fetch.forbidden")
    assert worker.committer.failing_s(since=0.0) > 0
    worker.cycle(20)
    assert worker.window.settled == 5
    assert worker.committer.failing_s(since=0.0) == 0.0
