"""A person pauses, resumes, scales and cancels a job whose workers are Ray actors."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from pipeline import metrics
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.backfill import layout
from pipeline.backfill.control import Control, Wish, change_control
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.running.limits import NO_LIMITS, Account, Used
from pipeline.backfill.running.progress import Progress, State
from tests.rigs.backfill import timed_worker
from tests.rigs.backfill.job_driver import NoView, job_of
from tests.rigs.root import ROOT
from tests.rigs.waiting import eventually
from workers.cluster.actors import Cluster
from workers.cluster.start import patiently
from workers.commands.backfill.driving.running import Around, RunningJob
from workers.settings.loading import Settings
from workers.supervise.standing import State as Place
from workers.supervise.supervisor import ExitCode

pytestmark = pytest.mark.component

SHARDS = 100_000
SHARD_S = 0.2


def test_a_job_on_ray_follows_what_a_person_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Ray's processes have the environment of the driver, and must find the tests.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    settings = Settings.model_validate(
        {
            "s3": {"allowed_buckets": ["photos"]},
            "workers": {"count": 1, "gpus_per_worker": 0, "cpus_per_worker": 0.1, "grace_s": 5},
        }
    )
    folder = MemoryFolder()
    ledger = Ledger(SHARDS, set(), 1)
    stopping = threading.Event()
    codes: list[ExitCode] = []
    start = partial(Cluster, settings)
    joined = patiently(start, threading.Event().wait, SystemClock(), random.Random(0))
    assert joined is not None
    with (
        contextlib.closing(joined) as cluster,
        ThreadPoolExecutor(2) as pool,
    ):
        running = RunningJob(
            Around(
                folder,
                SystemClock(),
                pool,
                time.sleep,
                MemoryMeter(metrics.BACKFILL_DRIVER),
                NoView(),
            ),
            job_of(SHARDS, rows=SHARDS, shard_rows=1),
            ledger,
            partial(cluster.launch, partial(timed_worker.build, SHARD_S)),
            (BackfillPolicy(), settings.workers),
            Account(Used(), 0.0, NO_LIMITS),
        )
        driver = threading.Thread(target=lambda: codes.append(running.run(stopping, lambda: None)))
        driver.start()

        def ask(**changes: Any) -> None:
            change_control(folder, lambda control: Control(**(control.model_dump() | changes)))

        def ready() -> int:
            return running.supervisor.standing.states.get(Place.READY, 0)

        try:
            eventually(lambda: len(ledger.done) > 3)
            ask(max_workers=2)
            eventually(lambda: ready() == 2)
            ask(wish=Wish.PAUSE)
            eventually(lambda: not running.supervisor.standing.states and not ledger.in_work)
            paused_at = len(ledger.done)
            ask(wish=Wish.RUN, max_workers=1)
            eventually(lambda: len(ledger.done) > paused_at + 3)
            assert ready() == 1
            ask(wish=Wish.CANCEL)
            driver.join(60)
            assert not driver.is_alive()
        finally:
            stopping.set()
            driver.join()
    assert codes == [ExitCode.OK]
    assert not ledger.in_work
    found = folder.read(layout.PROGRESS)
    assert found is not None
    progress = Progress.of_bytes(found.body, layout.PROGRESS)
    assert progress.state is State.CANCELLED
    assert progress.shards_committed == len(ledger.done) > paused_at
