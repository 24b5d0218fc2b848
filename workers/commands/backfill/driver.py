"""Runs a job to its end."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from concurrent.futures import Future
from functools import partial

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill import layout
from pipeline.backfill.committing import committed_shards
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Ledger
from pipeline.errors import Halt, Retry
from pipeline.metrics import DRIVER_METRICS
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output, probed
from workers.backfill.planning_request import Request
from workers.backfill.report.page import Choice
from workers.backfill.report.write import write_report
from workers.backfill.wiring import build_backfill_worker
from workers.cluster.actors import Cluster
from workers.cluster.start import patiently
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.lease import HeldLease, take_lease
from workers.commands.backfill.new_job import job_of
from workers.commands.backfill.stuck import Stuck
from workers.commands.signals import signals
from workers.endpoints import HealthEndpoint
from workers.settings.loading import Settings
from workers.supervise.standing import DriverGauges
from workers.supervise.supervisor import ExitCode, Supervisor

log = logging.getLogger(__name__)

HEALTHY_S = 30.0
PROGRESS_S = 10.0


def run_backfill(
    settings: Settings,
    request: Request,
    output: str,
    gpu_hour_price: float | None = None,
    *,
    take_over: bool = False,
) -> ExitCode:
    """Cut the job if it is new, and run what is left of it. A complete job has a report.
    ``take_over`` does not wait for another driver's lease to expire.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """
    place = probed(settings, Output.of(output))
    rng = random.Random()  # noqa: S311 - jitter, no secret
    stopping = threading.Event()
    with (
        signals(stopping),
        contextlib.closing(open_output(settings, place)) as folder,
    ):
        lease = take_lease(folder, SystemClock(), stopping.wait, force=take_over)
        if lease is None:
            return ExitCode.OK
        try:
            job = job_of(settings, folder, request, lease, stopping)
            if job is None:
                return ExitCode.OK
            code = _run(settings, place, folder, job, lease, stopping, rng)
            done = committed_shards(folder, job.shards, job.plan_hash)
            if code is ExitCode.OK and len(done) == job.shards:
                leave_report(settings, folder, Choice(gpu_hour_price))
            return code
        finally:
            lease.give_back()


def leave_report(settings: Settings, folder: Folder, choice: Choice) -> None:
    """Put the report into the output of a complete job, which it is with or without one."""
    try:
        write_report(settings, folder, choice)
    except (Halt, Retry) as failure:
        log.warning(
            "the report could not be written: %s; see `clipstream backfill report`", failure
        )
    else:
        log.info("the report is in the output: %s", layout.REPORT)


def _run(
    settings: Settings,
    place: Output,
    folder: Folder,
    job: Job,
    lease: HeldLease,
    stopping: threading.Event,
    rng: random.Random,
) -> ExitCode:
    ledger = Ledger(job.shards, committed_shards(folder, job.shards, job.plan_hash), job.shard_rows)
    log.info(
        "job %s: %d rows in %d shards, %d of them committed",
        job.id,
        job.rows,
        job.shards,
        len(ledger.done),
    )
    if ledger.complete:
        return ExitCode.OK
    joined = patiently(partial(Cluster, settings), stopping.wait, SystemClock(), rng)
    if joined is None:
        return ExitCode.OK
    with contextlib.closing(joined) as cluster:
        dispatcher = Dispatcher(ledger, Stuck(settings.backfill.stuck_s, SystemClock()))
        supervisor = Supervisor(
            partial(cluster.launch, partial(build_backfill_worker, place, job)),
            settings.workers,
            SystemClock(),
            rng,
            time.sleep,
            dismiss=_nothing_to_leave,
            forgives=dispatcher.blames_work,
        )
        meter = PrometheusMeter(DRIVER_METRICS)
        watch = Watch(ledger, dispatcher, lease, stopping, DriverGauges(meter))
        endpoint = HealthEndpoint(
            settings.endpoints,
            healthy=lambda: watch.healthy,
            standing=lambda: supervisor.standing,
            registry=meter.registry,
        )
        with contextlib.closing(endpoint):
            code = supervisor.run(None, watch.tick)
    if dispatcher.halt is not None:
        raise dispatcher.halt
    return code


class Watch:
    """The driver's own work at every look at its workers."""

    def __init__(
        self,
        ledger: Ledger,
        dispatcher: Dispatcher,
        lease: HeldLease,
        stopping: threading.Event,
        gauges: DriverGauges,
    ) -> None:
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._lease = lease
        self._stopping = stopping
        self._gauges = gauges
        self._ticked_at = self._told_at = time.monotonic()
        self._told_rows = 0

    @property
    def healthy(self) -> bool:
        return time.monotonic() - self._ticked_at < HEALTHY_S

    def tick(self, supervisor: Supervisor) -> None:
        now = self._ticked_at = time.monotonic()
        self._lease.renew_when_due()
        self._dispatcher.look(supervisor.slots)
        halted = self._dispatcher.halt is not None
        if self._stopping.is_set() or self._ledger.complete or halted:
            supervisor.request_stop()
        self._gauges.follow(supervisor.standing)
        if now - self._told_at >= PROGRESS_S:
            rows = self._dispatcher.rows
            log.info(
                "%d of %d shards, %.1f rows/s, %d failed, %d workers",
                len(self._ledger.done),
                self._ledger.shards,
                (rows - self._told_rows) / (now - self._told_at),
                self._dispatcher.failed,
                supervisor.workers,
            )
            self._told_at, self._told_rows = now, rows


def _nothing_to_leave(slot: int, *, for_good: bool) -> Future[None]:
    """A backfill's worker is no member of anything."""
    done: Future[None] = Future()
    done.set_result(None)
    return done
