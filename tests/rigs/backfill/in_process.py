"""A whole backfill in the tests' own process: the real driver, with workers in threads where Ray
has actors."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

from pipeline.errors import Halt, Retry
from pipeline.ports import Encoder, Folder
from workers.backfill import wiring
from workers.backfill.output import Output, open_output
from workers.backfill.planning_request import Request
from workers.backfill.wiring import BuiltBackfillWorker, build_backfill_worker
from workers.backfill.worker import Assignment, BackfillWorker
from workers.cluster.reservation import Reservation
from workers.commands.backfill import driver
from workers.health import Heard
from workers.settings.loading import Settings
from workers.supervise.node import Node
from workers.supervise.slot import Ended, Fate
from workers.supervise.supervisor import ExitCode


def run_here(
    settings: Settings,
    request: Request,
    output: str,
    load: Callable[[Settings], Encoder],
    around: Callable[[Folder], Folder] = lambda folder: folder,
) -> ExitCode:
    """`clipstream backfill run` with the model that ``load`` gives. ``around`` is put around the
    output that workers write to.

    Raises:
        Halt, StoreDenied, Retry: as the command prints it.
    """

    def opened(given: Settings, place: Output) -> Folder:
        return around(open_output(given, place))

    with (
        mock.patch.object(driver, "Cluster", Threads),
        mock.patch.object(
            driver, "build_backfill_worker", partial(build_backfill_worker, load=load)
        ),
        mock.patch.object(wiring, "open_output", opened),
    ):
        return driver.run_backfill(settings, request, output)


class Threads:
    """Stands in for ``workers.cluster.actors.Cluster``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: list[ThreadWorker] = []
        self.reservation = Reservation(0.0, 1.0, "no GPU")

    def launch(
        self,
        build: Callable[[Settings, int], BuiltBackfillWorker],
        slot: int,
        avoid: frozenset[str] = frozenset(),
    ) -> ThreadWorker:
        worker = ThreadWorker(partial(build, self._settings, slot))
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self._workers:
            worker.join()


class ThreadWorker:
    """Implements ``slot.WorkerHandle`` with a thread."""

    wants = "a thread"

    def __init__(self, build: Callable[[], BuiltBackfillWorker]) -> None:
        self._build = build
        self._worker: BackfillWorker | None = None
        self._stop: float | None = None
        self._end: Ended | None = None
        self._thread = threading.Thread(target=self._run)

    def node(self) -> Node | None:
        return Node("here", socket.gethostname())

    def node_goes_in(self) -> float | None:
        return None

    def begin(self) -> None:
        self._thread.start()

    def ended(self) -> Ended | None:
        return self._end

    def health(self) -> Heard | None:
        worker = self._worker
        return None if worker is None else Heard(worker.health(), time.monotonic())

    def metrics_at(self) -> str | None:
        return None

    def tell(self, message: object) -> None:
        assert isinstance(message, Assignment)
        if self._worker is not None:
            self._worker.tell(message)

    def stop(self, grace_s: float) -> None:
        self._stop = grace_s
        if self._worker is not None:
            self._worker.stop(grace_s)

    def kill(self) -> None:
        self.stop(0.0)

    def join(self) -> None:
        self.stop(0.0)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._end = self._ran()
        except Halt as halt:
            self._end = Ended(Fate.HALTED, halt.code, halt.message)
        except Retry as failure:
            self._end = Ended(Fate.UNAVAILABLE, failure.code, failure.message)
        except BaseException as error:
            self._end = Ended(Fate.DIED, "worker.died", repr(error))
            raise

    def _ran(self) -> Ended:
        built = self._build()
        try:
            self._worker = built.worker
            if self._stop is not None:
                built.worker.stop(self._stop)
            built.worker.run()
        finally:
            built.close()
        return Ended(Fate.STOPPED)
