"""A member that is gone, or alive but stuck, and the member that takes its partitions over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.adapters.kafka.policy import DeliveryPolicy
from pipeline.errors import CommitDoubtful
from pipeline.ports import Commit, Revoked
from pipeline.records.progress import Progress
from tests.fault.chaos_worker import WorkerCase, run_worker
from tests.rigs.services.kafka_deployment import Deployment, Polling, outcome
from tests.rigs.waiting import WAIT_S

pytestmark = pytest.mark.component

PARTITIONS = 4
DELIVERY = DeliveryPolicy(
    request_timeout_s=0.5,
    delivery_timeout_s=1.0,
    transaction_timeout_s=1.5,
    session_timeout_s=3.0,
    max_poll_interval_s=300.0,
)


@contextmanager
def process_of_member(deployment: Deployment, slot: int, log: Path) -> Iterator[int]:
    """A worker in a process of its own, by its id."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    case = WorkerCase(
        deployment.kafka, deployment.delivery, deployment.member(slot), deployment.facts, log
    )
    process = context.Process(target=run_worker, args=(case, theirs), daemon=True)
    process.start()
    theirs.close()
    assert process.pid is not None
    with closing(ours):
        try:
            yield process.pid
        finally:
            process.kill()
            process.join(WAIT_S)


def test_partitions_of_a_member_that_was_killed_are_taken_over_after_the_session_timeout(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    with Deployment(kafka_bootstrap, PARTITIONS, delivery=DELIVERY) as deployment:
        survivor = deployment.ready()
        with process_of_member(deployment, 1, tmp_path / "log") as crashing:
            survivor.until(lambda: len(survivor.owned) == PARTITIONS / 2)
            kept = survivor.owned
            os.kill(crashing, signal.SIGKILL)
            killed_at = time.monotonic()
            survivor.until(lambda: len(survivor.owned) == PARTITIONS)
            took_s = time.monotonic() - killed_at
        # Its last heartbeat came up to an interval before its end.
        heartbeat_s = DELIVERY.session_timeout_s / 3
        assert DELIVERY.session_timeout_s - heartbeat_s <= took_s < WAIT_S
        lost = {each.partition for each in survivor.changes if isinstance(each, Revoked)}
        assert not lost & kept


def test_a_member_that_stops_polling_is_put_out_and_cannot_commit_and_joins_again(
    kafka_bootstrap: str,
) -> None:
    """Its heartbeats go on, longer than the session timeout: only they tell it from a dead one."""
    limits = {"max_poll_interval_s": DELIVERY.session_timeout_s + 1.0}
    delivery = DELIVERY.model_copy(update=limits)
    with Deployment(kafka_bootstrap, PARTITIONS, delivery=delivery) as deployment:
        stuck = deployment.ready()
        other = Polling(deployment.stream(1))
        stuck.until(lambda: len(stuck.owned) == len(other.owned) == 2, also=[other])
        other.stream.recover()
        contested = min(stuck.owned)
        stuck.once()
        polled_at = time.monotonic()
        other.until(lambda: len(other.owned) == PARTITIONS)
        assert time.monotonic() - polled_at >= delivery.max_poll_interval_s
        with pytest.raises(CommitDoubtful):
            stuck.stream.commit(Commit({contested: Progress(9)}, (outcome(b"stuck"),)))
        other.stream.commit(Commit({contested: Progress(1)}, (outcome(b"other"),)))
        lost = len(stuck.changes)
        stuck.until(lambda: len(stuck.owned) == len(other.owned) == 2, also=[other])
        assert [type(each) for each in stuck.changes[lost : lost + 2]] == [Revoked, Revoked]
        mine = min(stuck.owned)
        offset = stuck.starts[mine] + 1
        stuck.recover()
        stuck.stream.commit(Commit({mine: Progress(offset)}, (outcome(b"again"),)))
        assert {*deployment.values()} == {b"other", b"again"}
        assert deployment.committed(mine.number) == offset
