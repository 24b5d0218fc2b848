"""The watchdog on real processes: what is stuck for good is found, killed and replaced."""

from __future__ import annotations

import random
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.s3_policy import S3Policy
from tests.fault import stuck_worker
from workers.cluster import Cluster
from workers.reference import ROOT
from workers.settings import Settings
from workers.supervise import ExitCode, Supervisor
from workers.workers_policy import WorkersPolicy

pytestmark = [pytest.mark.component, pytest.mark.timeout(240)]

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
