"""A driver of a backfill on plain processes: `python -m tests.fault.backfill.driver_process`, with
settings, output, the file that counts deaths, how many there are to be, and a seed."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from unittest import mock

from pipeline.adapters.clock import SystemClock
from pipeline.backfill.committing import committed_shards
from pipeline.backfill.ledger import Ledger
from pipeline.retry import RetryPolicy
from tests.fault.backfill.dying import Fates
from tests.fault.backfill.local_workers import LocalWorker
from workers.backfill.output import Output, open_output
from workers.backfill.planning import read_job
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.lease import take_lease
from workers.commands.backfill.stuck import Stuck
from workers.logs import configure_logging
from workers.settings.loading import load_settings
from workers.supervise import slot as places
from workers.supervise.supervisor import Supervisor

QUICK = RetryPolicy(first_wait_s=0.05, longest_wait_s=0.2)


def main() -> int:
    file, output, counted, kills, seed = sys.argv[1:]
    settings = load_settings(Path(file), environment={})
    configure_logging(settings.log, "driver")
    rng = random.Random(int(seed))
    fates = Fates(Path(counted), int(kills))
    place = Output.of(output)
    if fates.of_driver(rng):
        fates.at_some_moment(rng, scale=2.0)
    with contextlib.closing(open_output(settings, place)) as folder:
        lease = take_lease(folder, SystemClock(), threading.Event().wait, force=True)
        job = read_job(folder)
        assert lease is not None
        assert job is not None
        done = committed_shards(folder, job.shards, job.plan_hash)
        ledger = Ledger(job.shards, done, job.shard_rows)
        dispatcher = Dispatcher(ledger, Stuck(settings.backfill.stuck_s, SystemClock()))

        def launch(slot: int, avoid: frozenset[str]) -> LocalWorker:
            return LocalWorker(place, job, settings, slot, fates, rng.randrange(2**32))

        def dismiss(slot: int, *, for_good: bool) -> Future[None]:
            done: Future[None] = Future()
            done.set_result(None)
            return done

        def tick(supervisor: Supervisor) -> None:
            lease.renew_when_due()
            dispatcher.look(supervisor.slots)
            if ledger.complete:
                supervisor.request_stop()

        with mock.patch.object(places, "RESTARTS", QUICK):
            supervisor = Supervisor(
                launch,
                settings.workers,
                SystemClock(),
                rng,
                time.sleep,
                dismiss=dismiss,
                forgives=dispatcher.blames_work,
            )
            code = supervisor.run(None, tick)
        lease.give_back()
        return int(code)


if __name__ == "__main__":
    sys.exit(main())
