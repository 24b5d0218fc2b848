"""Runs a job to its end."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.backfill import layout
from pipeline.backfill.control import read_control
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.policy import CPU_SHARD_ROWS, GPU_SHARD_ROWS
from pipeline.backfill.running.limits import NO_LIMITS, Account, Limits, Used
from pipeline.backfill.running.progress import Progress, State
from pipeline.metrics import BACKFILL_DRIVER
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output
from workers.backfill.planning import plan, read_job
from workers.backfill.wiring import build_backfill_worker
from workers.cluster.actors import Cluster
from workers.cluster.reservation import decided_before
from workers.cluster.start import patiently
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.driving.ending import close_job
from workers.commands.backfill.driving.errands import Errand
from workers.commands.backfill.driving.gate import may_begin, pause_by_limit, used_before
from workers.commands.backfill.driving.gauges import JobGauges
from workers.commands.backfill.driving.orders import CONTROL_S, LAG_S, Orders
from workers.commands.backfill.driving.sizing import MOST_PLACES, JobSizing
from workers.commands.backfill.driving.telling import PROGRESS_S, Teller, View
from workers.commands.backfill.driving.view import open_view
from workers.commands.backfill.driving.watch import Watch
from workers.commands.backfill.lease import HeldLease, take_lease
from workers.commands.signals import signals
from workers.endpoints import HealthEndpoint
from workers.settings.loading import Settings
from workers.supervise.standing import NOTHING_YET, DriverGauges
from workers.supervise.supervisor import ExitCode, Supervisor

log = logging.getLogger(__name__)

Plan = Callable[[Folder, Callable[[int], object]], Job]
"""Cuts a job that is new. The second argument is to be called now and then."""


def run_backfill(
    settings: Settings, source: str, output: str, limits: Limits = NO_LIMITS
) -> ExitCode:
    """Cut the job if it is new, and run what is left of it.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """
    rows = shard_rows(settings)
    return run_job(
        settings, output, lambda folder, tell: plan(settings, folder, source, rows, tell), limits
    )


def run_job(settings: Settings, output: str, plan_new: Plan, limits: Limits) -> ExitCode:
    """Run what is left of the job of an output. ``plan_new`` cuts it if there is none.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """
    place = Output.of(output)
    stopping = threading.Event()
    with (
        signals(stopping),
        contextlib.closing(open_output(settings, place)) as folder,
    ):
        lease = take_lease(folder, SystemClock(), stopping.wait)
        if lease is None:
            return ExitCode.INCOMPLETE
        try:
            job = read_job(folder) or plan_new(folder, lambda rows: lease.renew_when_due())
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
    ledger = Ledger(job.shards, committed(folder), job.shard_rows)
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
    success = close_job(folder, job, used, SystemClock())
    log.info(
        "the job is complete: %d rows classified, %d failed, %d skipped",
        success.summary.classified,
        success.summary.failed,
        success.summary.skipped,
    )
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
    rng = random.Random()  # noqa: S311 - jitter, no secret
    clock = SystemClock()
    joined = patiently(partial(Cluster, settings), stopping.wait, clock, rng)
    if joined is None:
        return ExitCode.INCOMPLETE, used
    with (
        contextlib.closing(joined) as cluster,
        ThreadPoolExecutor(3, "errands") as pool,
        contextlib.closing(open_view(PROGRESS_S, clock)) as view,
    ):
        meter = PrometheusMeter(BACKFILL_DRIVER)
        dispatcher = Dispatcher(ledger)
        sizing = JobSizing(ledger, settings.workers.most, lambda: dispatcher.busy)
        orders = Orders(
            Errand(pool, clock, CONTROL_S, partial(read_control, folder), "reading control.json"),
            settings.backfill,
            sizing,
            dispatcher,
            clock,
            _stream_lag(settings, pool),
        )
        show = partial(_show, view, JobGauges(meter))
        teller = Teller(job, socket.gethostname(), ledger, dispatcher, sizing, clock, show)
        account = Account(used, cluster.reservation.gpus, limits)
        watch = Watch(ledger, dispatcher, orders, teller, account, settings.backfill.stuck_s, clock)
        notes = Errand(
            pool, clock, PROGRESS_S, partial(_write, folder, teller), "writing progress.json"
        )
        supervisor = Supervisor(
            partial(cluster.launch, partial(build_backfill_worker, place, job)),
            settings.workers,
            clock,
            rng,
            time.sleep,
            dismiss=_nothing_to_leave,
            sizing=sizing,
            forgives=dispatcher.blames_work,
            range_of_places=(0, MOST_PLACES),
        )
        endpoint = HealthEndpoint(
            settings.endpoints,
            healthy=lambda: watch.healthy,
            standing=lambda: supervisor.standing,
            registry=meter.registry,
        )
        gauges = DriverGauges(meter)

        def tick(supervisor: Supervisor) -> None:
            lease.renew_when_due()
            watch.tick(supervisor, stopping)
            gauges.follow(supervisor.standing)
            notes.look()

        with contextlib.closing(endpoint):
            code = supervisor.run(None, tick)
        if watch.limit is not None:
            pause_by_limit(folder, watch.limit)
        last = teller.tell(_last(watch.state), watch.reason, NOTHING_YET, account.used)
        folder.write(layout.PROGRESS, last.as_bytes())
    if watch.halt is not None:
        raise watch.halt
    return code, account.used


def _last(state: State) -> State:
    return state if state in (State.COMPLETE, State.CANCELLED) else State.STOPPED


def _show(view: View, gauges: JobGauges, progress: Progress) -> None:
    view.show(progress)
    gauges.follow(progress)


def _write(folder: Folder, teller: Teller) -> None:
    if teller.latest is not None:
        folder.write(layout.PROGRESS, teller.latest.as_bytes())


def _stream_lag(settings: Settings, pool: ThreadPoolExecutor) -> Errand[int] | None:
    """Asks how far the stream on the same cluster is behind, if the job is to make room for it."""
    if settings.backfill.yield_above_lag is None:
        return None

    def lag() -> int:
        with KafkaAdmin(settings.kafka) as admin:
            return admin.lag()

    group = settings.kafka.group
    return Errand(pool, SystemClock(), LAG_S, lag, f"asking for the lag of group {group}")


def shard_rows(settings: Settings) -> int:
    """Rows of a shard. Without Ray it is not known whether `auto` finds a GPU, so a job that is to
    run on GPUs says so in its settings."""
    rows = settings.backfill.shard_rows
    if rows != "auto":
        return rows
    decided = decided_before(settings)
    return GPU_SHARD_ROWS if decided is not None and decided[0] else CPU_SHARD_ROWS


def committed(folder: Folder) -> set[int]:
    """The shards that are committed."""
    shards = (layout.shard_of(name) for name in folder.names(layout.DATA))
    return {shard for shard in shards if shard is not None}


def _nothing_to_leave(slot: int, *, for_good: bool) -> Future[None]:
    """A backfill's worker is no member of anything."""
    done: Future[None] = Future()
    done.set_result(None)
    return done
