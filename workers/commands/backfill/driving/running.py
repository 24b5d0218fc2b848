"""A job while workers run it: everything that looks at them together."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pipeline.backfill import layout
from pipeline.backfill.control import read_control
from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.running.limits import Account
from pipeline.backfill.running.progress import Progress, State
from pipeline.ports import Clock, Folder, Meter
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.driving.errands import Errand
from workers.commands.backfill.driving.gate import pause_by_limit
from workers.commands.backfill.driving.gauges import JobGauges
from workers.commands.backfill.driving.orders import CONTROL_S, LAG_S, Orders
from workers.commands.backfill.driving.sizing import MOST_PLACES, JobSizing
from workers.commands.backfill.driving.telling import PROGRESS_S, Teller, View
from workers.commands.backfill.driving.watch import Watch
from workers.commands.backfill.stuck import Stuck
from workers.settings.workers import WorkersPolicy
from workers.supervise.slot import Launch
from workers.supervise.standing import NOTHING_YET, DriverGauges
from workers.supervise.supervisor import ExitCode, Supervisor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Around:
    """What a running job stands on. ``pool`` runs calls to services, and ``wait`` is the pause
    between two looks."""

    folder: Folder
    clock: Clock
    pool: Executor
    wait: Callable[[float], object]
    meter: Meter
    view: View


class RunningJob:
    """Belongs to one thread, but for ``supervisor.standing`` and ``healthy``."""

    def __init__(
        self,
        around: Around,
        job: Job,
        ledger: Ledger,
        launch: Launch,
        policies: tuple[BackfillPolicy, WorkersPolicy],
        account: Account,
        stream_lag: Callable[[], int] | None = None,
    ) -> None:
        """``stream_lag`` asks how far the stream on the same cluster is behind, if the job is to
        make room for it. It may raise ``Halt`` or ``Retry``."""
        self._around = around
        self._account = account
        policy, workers = policies
        clock = around.clock
        dispatcher = self._dispatcher = Dispatcher(
            ledger, Stuck(policy.stuck_s, clock), policy.max_failed_share
        )
        sizing = JobSizing(ledger, workers.most, lambda: dispatcher.busy)
        orders = Orders(
            self._errand(CONTROL_S, partial(read_control, around.folder), "reading control.json"),
            policy,
            sizing,
            dispatcher,
            clock,
            stream_lag and self._errand(LAG_S, stream_lag, "asking for the stream's lag"),
        )
        self._job_gauges = JobGauges(around.meter)
        self._gauges = DriverGauges(around.meter)
        self._teller = Teller(
            job, socket.gethostname(), ledger, dispatcher, sizing, clock, self._show
        )
        self._watch = Watch(ledger, dispatcher, orders, self._teller, account, clock)
        self._notes = self._errand(PROGRESS_S, self._write, "writing progress.json")
        self.supervisor = Supervisor(
            launch,
            workers,
            clock,
            random.Random(),  # noqa: S311 - jitter, no secret
            around.wait,
            dismiss=_nothing_to_leave,
            sizing=sizing,
            forgives=dispatcher.blames_work,
            most_places=MOST_PLACES,
        )

    @property
    def healthy(self) -> bool:
        """Whether the driver's loop turns."""
        return self._watch.healthy

    def run(self, stopping: threading.Event, each_look: Callable[[], object]) -> ExitCode:
        """Run workers until nothing is left, or somebody or something ends it. ``each_look`` is
        called with every look at the workers.

        Raises:
            Halt: a person must act.
            StoreDenied, Retry: the output's store failed.
        """

        def tick(supervisor: Supervisor) -> None:
            each_look()
            self._watch.tick(supervisor, stopping)
            self._gauges.follow(supervisor.standing)
            self._notes.look()

        code = self.supervisor.run(None, tick)
        watch = self._watch
        if watch.limit is not None:
            pause_by_limit(self._around.folder, watch.limit)
        state = watch.state if watch.state is not State.STOPPING else State.STOPPED
        self._teller.tell(state, watch.reason, NOTHING_YET, self._account.used)
        self._write()
        if self._dispatcher.halt is not None:
            raise self._dispatcher.halt
        return code

    def _errand(self, every_s: float, call: Callable[[], T], doing: str) -> Errand[T]:
        return Errand(self._around.pool, self._around.clock, every_s, call, doing)

    def _show(self, progress: Progress) -> None:
        self._around.view.show(progress)
        self._job_gauges.follow(progress)

    def _write(self) -> None:
        if self._teller.latest is not None:
            self._around.folder.write(layout.PROGRESS, self._teller.latest.as_bytes())


def _nothing_to_leave(slot: int, *, for_good: bool) -> Future[None]:
    """A backfill's worker is no member of anything."""
    done: Future[None] = Future()
    done.set_result(None)
    return done
