"""A driver of a backfill whose workers are plain processes, and that may die."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.backfill.committing import committed_shards
from pipeline.backfill.job import read_job
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.running.limits import NO_LIMITS, Account, Used
from pipeline.metrics import BACKFILL_DRIVER
from pipeline.retry import RetryPolicy
from tests.fault.backfill.dying import DRIVER, Fates
from tests.fault.backfill.local_workers import LocalWorker
from tests.rigs.backfill.job_driver import NoView
from workers.backfill.output import Output, open_output
from workers.commands.backfill.driving.running import Around, RunningJob
from workers.commands.backfill.lease import take_lease
from workers.logs import configure_logging
from workers.settings.loading import load_settings
from workers.supervise import slot as places

QUICK = RetryPolicy(first_wait_s=0.05, longest_wait_s=0.2)


def drive(
    file: Path, output: str, environment: Mapping[str, str], fates: Fates, seed: int, log: Path
) -> None:
    """The process of a driver: runs the job of an output to its end, and takes it over from
    another driver. What it says goes to ``log``."""
    with log.open("ab") as said:
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
    os.environ.update(environment)
    settings = load_settings(file, environment={})
    configure_logging(settings.log, "driver")
    rng = random.Random(seed)
    place = Output.of(output)
    if fates.of_driver(rng):
        fates.at_some_moment(rng, DRIVER, scale=2.0)
    with contextlib.closing(open_output(settings, place)) as folder:
        lease = take_lease(folder, SystemClock(), threading.Event().wait, force=True)
        job = read_job(folder)
        assert lease is not None
        assert job is not None
        done = committed_shards(folder, job.shards, job.plan_hash)
        ledger = Ledger(job.shards, done, job.shard_rows)

        def launch(slot: int, avoid: frozenset[str]) -> LocalWorker:
            life = environment, fates, rng.randrange(2**32)
            return LocalWorker(place, job, settings, slot, life)

        with ThreadPoolExecutor() as pool, mock.patch.object(places, "RESTARTS", QUICK):
            meter = MemoryMeter(BACKFILL_DRIVER)
            running = RunningJob(
                Around(folder, SystemClock(), pool, time.sleep, meter, NoView()),
                job,
                ledger,
                launch,
                (settings.backfill, settings.workers),
                Account(Used(), 0.0, NO_LIMITS),
            )
            running.run(threading.Event(), lease.renew_when_due)
        lease.give_back()
