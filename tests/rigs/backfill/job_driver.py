"""A running job on a simulated clock, with workers that take a while for each shard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from pipeline import metrics
from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.backfill import layout
from pipeline.backfill.control import Control, change_control
from pipeline.backfill.job import Job, Source
from pipeline.backfill.ledger import Ledger, Task
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.running.limits import NO_LIMITS, Account, Limits, Used
from pipeline.backfill.running.manners import UNLIMITED, Rates
from pipeline.backfill.running.progress import Progress
from pipeline.backfill.summary import Summary
from tests.rigs.workers.supervisor import Worker, health
from workers.backfill.worker import Assignment, BackfillHealth, Done, Part
from workers.commands.backfill.driving.running import Around, RunningJob
from workers.health import Heard
from workers.settings.workers import WorkersPolicy
from workers.supervise.slot import Ended, Fate
from workers.supervise.supervisor import ExitCode

ROWS = 100
"""Rows of a shard."""

CLASSIFIED = Summary(rows=ROWS, classified=ROWS)
FAILED = Summary(rows=ROWS, failed=ROWS, codes={"fetch.not_found": ROWS})


class Here(Executor):
    """Runs what is submitted at once, in the caller's thread."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **named))
        except Exception as error:
            done.set_exception(error)
        return done


def job_of(shards: int, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": "job-1",
        "created_at": "2026-11-29T00:00:00+00:00",
        "clipstream_version": "0",
        "source": Source(uri="s3://photos/2024", kind="listing"),
        "attempt": "a1",
        "rows": shards * ROWS,
        "bytes": 0,
        "shards": shards,
        "shard_rows": ROWS,
        "plan_hash": "p1",
    }
    return Job(**(values | changes))


class Hand(Worker):
    """A worker whose shards take ``seconds`` each. One that is asked to stop finishes what it can
    within its grace period, and returns the rest."""

    def __init__(self, clock: HandClock, slot: int, seconds: float) -> None:
        super().__init__(clock, slot)
        self._seconds = seconds
        self._began: dict[Task, float] = {}
        self._done: dict[Task, Done] = {}
        self._finished = 0
        self._until: float | None = None
        self.share = UNLIMITED
        self.shares: list[Rates] = []
        self.stuck = False
        self.full = False
        """Whether the output takes no results, so that shards are returned after all their rows."""
        self.failing = False
        """Whether all rows fail."""

    def tell(self, message: object) -> None:
        super().tell(message)
        assert isinstance(message, Assignment)
        for task in message.forget:
            self._done.pop(task, None)
        if message.share is not None:
            self.share = message.share
            self.shares.append(message.share)
        if self._until is None:
            self._began |= dict.fromkeys(message.begin, self._clock.now)

    def stop(self, grace_s: float) -> None:
        self.stops.append(grace_s)
        self._until = self._clock.now + grace_s

    def ended(self) -> Ended | None:
        self._work()
        if self._until is not None and (not self._began or self._clock.now >= self._until):
            return Ended(Fate.STOPPED)
        return super().ended()

    def health(self) -> Heard | None:
        if not self.begun:
            return None
        self._work()
        counted = health(available=True)
        fields = {name: getattr(counted, name) for name in type(counted).__slots__}
        answer = BackfillHealth(
            **fields,
            working=tuple(self._began),
            done=tuple(self._done.values()),
            rows=self._finished,
            failed=0,
            ready=self._until is None,
            trouble="s3: 507 no room is left" if self.full else None,
            bytes=10 * self._finished,
            parts=tuple(
                Part(task, 0, ROWS, self._clock.now - at) for task, at in self._began.items()
            ),
        )
        return Heard(answer, self._clock.now)

    def _work(self) -> None:
        for task, at in list(self._began.items()):
            if not self.stuck and self._clock.now - at >= self._seconds:
                del self._began[task]
                self._finished += ROWS
                if not self.full:
                    self._done[task] = Done(task, FAILED if self.failing else CLASSIFIED)


class NoView:
    def show(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


@dataclass
class Look:
    """What the driver saw at a time, in seconds since its start."""

    at: float
    wanted: int
    alive: int


class JobStage:
    """A driver of a job of ``shards``. ``at`` maps seconds to what happens then."""

    def __init__(
        self,
        shards: int,
        *,
        workers: Mapping[str, float] | None = None,
        policy: Mapping[str, Any] | None = None,
        limits: Limits = NO_LIMITS,
        used: Used | None = None,
        gpus: float = 0.0,
        shard_s: float = 60.0,
        stream_lag: Callable[[], int] | None = None,
    ) -> None:
        self.clock = HandClock()
        self.folder = MemoryFolder()
        self.job = job_of(shards)
        self.ledger = Ledger(shards, set(), ROWS)
        self.meter = MemoryMeter(metrics.BACKFILL_DRIVER)
        self.hands: list[Hand] = []
        self.looks: list[Look] = []
        self.at: list[tuple[float, Callable[[], object]]] = []
        self.stopping = threading.Event()
        self.shard_s = shard_s
        self.account = Account(used or Used(), gpus, limits)
        self.running = RunningJob(
            Around(self.folder, self.clock, Here(), self._wait, self.meter, NoView()),
            self.job,
            self.ledger,
            self._launch,
            (
                BackfillPolicy.model_validate(policy or {}),
                WorkersPolicy.model_validate({"count": 2, **(workers or {})}),
            ),
            self.account,
            stream_lag,
        )

    @property
    def elapsed(self) -> float:
        return self.clock.now - 1000.0

    @property
    def alive(self) -> list[Hand]:
        return [hand for hand in self.hands if hand.alive and hand.ended() is None]

    @property
    def progress(self) -> Progress:
        found = self.folder.read(layout.PROGRESS)
        assert found is not None
        return Progress.of_bytes(found.body, layout.PROGRESS)

    def ask(self, **changes: Any) -> Callable[[], object]:
        """Something that a person asks for."""
        return lambda: change_control(
            self.folder, lambda control: Control(**(control.model_dump() | changes))
        )

    def run(self, give_up_after_s: float = 7200.0) -> ExitCode:
        def each_look() -> None:
            while self.at and self.at[0][0] <= self.elapsed:
                self.at.pop(0)[1]()
            wanted = self.running.supervisor.workers
            self.looks.append(Look(self.elapsed, wanted, len(self.alive)))
            assert self.elapsed < give_up_after_s, "the job did not end"

        return self.running.run(self.stopping, each_look)

    def look_at(self, seconds: float) -> Look:
        """The first look after so many seconds."""
        return next(look for look in self.looks if look.at >= seconds)

    def _launch(self, slot: int, avoid: frozenset[str]) -> Hand:
        hand = Hand(self.clock, slot, self.shard_s)
        self.hands.append(hand)
        return hand

    def _wait(self, seconds: float) -> None:
        """Looks are a second apart, so that hours take little time."""
        self.clock.now += max(seconds, 1.0)
