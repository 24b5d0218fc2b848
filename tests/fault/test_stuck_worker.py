"""The supervisor on real processes: what is stuck for good is found, killed and replaced, and what
has not begun holds up neither a job's end nor a stop."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.s3.policy import S3Policy
from tests.fault import stuck_worker
from tests.rigs.root import ROOT
from workers.cluster.actors import Cluster
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy
from workers.supervise.standing import State
from workers.supervise.supervisor import ExitCode, Supervisor

pytestmark = pytest.mark.component

STALLED_S = 5.0
DEADLINE_S = 180.0


T = TypeVar("T")


def done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def test_a_process_whose_kafka_thread_is_stuck_in_a_commit_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = tmp_path / "processes"
    # Ray's processes have the environment of the driver, and must find the tests.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(stuck_worker.PROCESSES, str(processes))
    settings = Settings(
        s3=S3Policy(allowed_buckets=("images",)),
        workers=WorkersPolicy(count=1, stall_timeout_s=STALLED_S, max_crashes=2),
    )
    cluster = Cluster(settings)
    supervisor = Supervisor(
        partial(cluster.launch, stuck_worker.build),
        settings.workers,
        SystemClock(),
        random.Random(1),
        time.sleep,
        dismiss=lambda slot, for_good: done(None),
        group_lag=lambda: done(0),
    )
    deadline = time.monotonic() + DEADLINE_S

    def tick(supervisor: Supervisor) -> None:
        assert time.monotonic() < deadline
        if supervisor.committed == stuck_worker.REFERENCES:
            supervisor.request_stop()

    try:
        assert supervisor.run(on_tick=tick) is ExitCode.OK
        first, second = map(int, processes.read_text().split())
        assert first != second
        assert not Path(f"/proc/{first}").exists()
    finally:
        cluster.close()


def test_a_job_ends_clean_beside_workers_that_load_and_that_find_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = tmp_path / "processes"
    processes.touch()  # no process is the first: none gets stuck
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(stuck_worker.PROCESSES, str(processes))
    half = (os.cpu_count() or 1) / 2
    settings = Settings(
        s3=S3Policy(allowed_buckets=("images",)),
        workers=WorkersPolicy(count=2, cpus_per_worker=half),
    )
    cluster = Cluster(settings)
    supervisor = Supervisor(
        partial(cluster.launch, stuck_worker.build_or_load_forever),
        # One more than there is room for.
        settings.workers.model_copy(update={"count": 3}),
        SystemClock(),
        random.Random(1),
        time.sleep,
        dismiss=lambda slot, for_good: done(None),
        group_lag=lambda: done(0),
    )
    deadline = time.monotonic() + DEADLINE_S
    seen: list[Mapping[State, int]] = []

    def tick(supervisor: Supervisor) -> None:
        assert time.monotonic() < deadline
        seen.append(supervisor.standing.states)

    try:
        assert supervisor.run(until_idle_s=2.0, on_tick=tick) is ExitCode.OK
    finally:
        cluster.close()
    assert supervisor.committed == stuck_worker.REFERENCES
    assert {State.READY: 1, State.STARTING: 1, State.WAITING: 1} in seen
