"""Runs a job to its end."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill.budget import too_many_failures
from pipeline.backfill.committing import committed_shards
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.running.limits import NO_LIMITS, Account, Limits, Used
from pipeline.metrics import BACKFILL_DRIVER
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output, probed
from workers.backfill.planning_request import Request
from workers.backfill.report.gather import gather
from workers.backfill.report.page import Choice
from workers.backfill.wiring import build_backfill_worker, endpoint_of
from workers.cluster.actors import Cluster
from workers.cluster.start import patiently
from workers.commands.backfill.driving.ending import close_job, leave_report
from workers.commands.backfill.driving.gate import may_begin, used_before
from workers.commands.backfill.driving.running import Around, RunningJob
from workers.commands.backfill.driving.telling import PROGRESS_S
from workers.commands.backfill.driving.view import open_view
from workers.commands.backfill.lease import HeldLease, take_lease
from workers.commands.backfill.new_job import job_of
from workers.commands.signals import signals
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.fleet import Place
from workers.settings.loading import Settings
from workers.supervise.supervisor import ExitCode

log = logging.getLogger(__name__)

_ERRANDS = 3
"""Calls to services that the driver makes at once."""

FindJob = Callable[[Folder, HeldLease, threading.Event], Job | None]
"""The job of an output, cut now if it is new. None if the driver was asked to stop meanwhile."""


def run_backfill(
    settings: Settings,
    request: Request,
    output: str,
    limits: Limits = NO_LIMITS,
    *,
    take_over: bool = False,
) -> ExitCode:
    """Cut the job if it is new, and run what is left of it. A complete job has a report.
    ``take_over`` does not wait for another driver's lease to expire.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """

    def find(folder: Folder, lease: HeldLease, stopping: threading.Event) -> Job | None:
        return job_of(settings, folder, request, lease, stopping)

    return run_job(settings, output, find, limits, take_over=take_over)


def run_job(
    settings: Settings, output: str, find: FindJob, limits: Limits, *, take_over: bool = False
) -> ExitCode:
    """Run what is left of the job of an output.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """
    place = probed(settings, Output.of(output))
    stopping = threading.Event()
    with (
        signals(stopping),
        contextlib.closing(open_output(settings, place)) as folder,
    ):
        lease = take_lease(folder, SystemClock(), stopping.wait, force=take_over)
        if lease is None:
            return ExitCode.INCOMPLETE
        try:
            job = find(folder, lease, stopping)
            if job is None:
                return ExitCode.INCOMPLETE
            return _run(settings, place, folder, job, lease, stopping, limits)
        finally:
            lease.give_back()


def _run(
    settings: Settings,
    place: Output,
    folder: Folder,
    job: Job,
    lease: HeldLease,
    stopping: threading.Event,
    limits: Limits,
) -> ExitCode:
    ledger = Ledger(job.shards, committed_shards(folder, job.shards, job.plan_hash), job.shard_rows)
    log.info(
        "job %s: %d rows in %d shards, %d of them committed",
        job.id,
        job.rows,
        job.shards,
        len(ledger.done),
    )
    used, code = used_before(folder, job), ExitCode.OK
    if not ledger.complete:
        if not may_begin(folder, limits, used, lease.renew_when_due, stopping.wait):
            return ExitCode.INCOMPLETE
        code, used = _work(settings, place, folder, job, ledger, lease, stopping, limits, used)
    if not ledger.complete:
        return ExitCode.INCOMPLETE if code is ExitCode.OK else code
    gathered = gather(folder)
    share = settings.backfill.max_failed_share
    if (halt := too_many_failures(gathered.summary, share, "the job")) is not None:
        raise halt
    success = close_job(folder, gathered, used, SystemClock())
    log.info(
        "the job is complete: %d rows classified, %d failed, %d skipped",
        success.summary.classified,
        success.summary.failed,
        success.summary.skipped,
    )
    leave_report(settings, folder, gathered, Choice(limits.gpu_hour_price))
    return ExitCode.OK


def _work(
    settings: Settings,
    place: Output,
    folder: Folder,
    job: Job,
    ledger: Ledger,
    lease: HeldLease,
    stopping: threading.Event,
    limits: Limits,
    used: Used,
) -> tuple[ExitCode, Used]:
    """Run workers until nothing is left, or somebody or something ends it. Returns also what the
    job has used by then.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """
    clock = SystemClock()
    rng = random.Random()  # noqa: S311 - jitter, no secret
    joined = patiently(partial(Cluster, settings), stopping.wait, clock, rng)
    if joined is None:
        return ExitCode.INCOMPLETE, used
    with (
        contextlib.closing(joined) as cluster,
        ThreadPoolExecutor(_ERRANDS, "errands") as pool,
        contextlib.closing(open_view(PROGRESS_S, clock)) as view,
    ):
        meter = PrometheusMeter(BACKFILL_DRIVER)
        account = Account(used, cluster.reservation.gpus, limits)
        running = RunningJob(
            Around(folder, clock, pool, time.sleep, meter, view),
            job,
            ledger,
            partial(cluster.launch, partial(build_backfill_worker, place, job)),
            (settings.backfill, settings.workers),
            account,
            _stream_lag(settings),
        )
        endpoint = HealthEndpoint(
            settings.endpoints,
            healthy=lambda: running.healthy,
            standing=lambda: running.supervisor.standing,
            registry=meter.registry,
            places=lambda: [
                Place(endpoint_of(settings, job, slot), address)
                for slot, address in running.supervisor.standing.metrics_at.items()
            ],
        )
        with contextlib.closing(endpoint):
            code = running.run(stopping, lease.renew_when_due)
    return code, account.used


def _stream_lag(settings: Settings) -> Callable[[], int] | None:
    """Asks how far the stream on the same cluster is behind, if the job is to make room for it."""
    if settings.backfill.yield_above_lag is None:
        return None

    def lag() -> int:
        with KafkaAdmin(settings.kafka) as admin:
            return admin.lag()

    return lag
