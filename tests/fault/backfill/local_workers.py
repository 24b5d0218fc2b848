"""Workers of a backfill as plain processes, under the real supervisor and the real dispatcher."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

from pipeline.backfill.job import Job
from pipeline.errors import Halt, Retry
from tests.fault.backfill.dying import WORKER, Fates
from tests.fault.backfill.model import Model
from tests.fault.backfill.steps import SteppedFolder
from workers.backfill import wiring
from workers.backfill.output import Output, open_output
from workers.backfill.wiring import build_backfill_worker
from workers.health import Health, Heard
from workers.settings.loading import Settings
from workers.supervise.node import Node
from workers.supervise.slot import Ended, Fate

ANSWER_S = 0.1
ORPHAN_S = 2.0
"""How long a worker goes on after its driver has died: what it commits meanwhile, it commits as a
stranger."""

PROCESSES = get_context("forkserver")
"""Drivers and workers are forked from one process that has imported everything and opened nothing.
A driver asks the same one for its workers."""

PROCESSES.set_forkserver_preload([__name__, "tests.fault.backfill.local_driver"])

Life = tuple[Mapping[str, str], Fates, int]
"""A process' environment, beside that of its start; how it may die; and a seed."""


def worker_process(
    connection: Connection,
    output: Output,
    job: Job,
    settings: Settings,
    slot: int,
    life: Life,
) -> None:
    """The process of one worker: answers of its health, then how it ended."""
    environment, fates, seed = life
    os.environ.update(environment)
    rng = random.Random(seed)
    fate = fates.of_worker(rng)
    if fate == "moment":
        fates.at_some_moment(rng, WORKER)

    def dying(given: Settings, place: Output) -> Any:
        return SteppedFolder(
            open_output(given, place), lambda step, _: fates.die(step) if step == fate else None
        )

    try:
        with mock.patch.object(wiring, "open_output", dying):
            built = build_backfill_worker(output, job, settings, slot, lambda _: Model())
    except Halt as halt:
        connection.send(Ended(Fate.HALTED, halt.code, halt.message))
        return
    except Retry as failure:
        connection.send(Ended(Fate.UNAVAILABLE, failure.code, failure.message))
        return
    worker = built.worker
    over = threading.Event()

    def answer() -> None:
        while not over.wait(ANSWER_S):
            try:
                connection.send(worker.health())
            except OSError:
                return

    def listen() -> None:
        while True:
            try:
                kind, value = connection.recv()
            except (EOFError, OSError):
                worker.stop(ORPHAN_S)
                return
            worker.stop(value) if kind == "stop" else worker.tell(value)

    for target in (answer, listen):
        threading.Thread(target=target, daemon=True).start()
    end = Ended(Fate.STOPPED)
    try:
        worker.run()
    except Halt as halt:
        end = Ended(Fate.HALTED, halt.code, halt.message)
    over.set()
    built.close()
    try:
        connection.send(end)
    except OSError:
        return


class LocalWorker:
    """Implements ``slot.WorkerHandle`` with a process of this machine."""

    wants = "a process"

    def __init__(self, output: Output, job: Job, settings: Settings, slot: int, life: Life) -> None:
        self._connection, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(
            target=worker_process, args=(theirs, output, job, settings, slot, life)
        )
        self._process.start()
        theirs.close()
        self._heard: Heard | None = None
        self._end: Ended | None = None

    def node(self) -> Node | None:
        return Node("local", socket.gethostname())

    def node_goes_in(self) -> float | None:
        return None

    def begin(self) -> None: ...

    def ended(self) -> Ended | None:
        self._read()
        if self._end is not None:
            return self._end
        if self._process.exitcode is None:
            return None
        return Ended(Fate.DIED, "worker.died", f"exit code {self._process.exitcode}")

    def health(self) -> Heard | None:
        self._read()
        return self._heard

    def metrics_at(self) -> str | None:
        return None

    def tell(self, message: object) -> None:
        self._send(("tell", message))

    def stop(self, grace_s: float) -> None:
        self._send(("stop", grace_s))

    def kill(self) -> None:
        self._process.kill()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError:
            return  # ``ended`` says that it has died

    def _read(self) -> None:
        try:
            while self._connection.poll():
                told: Health | Ended = self._connection.recv()
                if isinstance(told, Ended):
                    self._end = told
                else:
                    self._heard = Heard(told, time.monotonic())
        except (EOFError, OSError):
            return
