"""A backfill's worker: two shards at a time over one shared path, until it is told to stop."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from pipeline.backfill.ledger import Task
from pipeline.backfill.running.manners import Rates
from pipeline.backfill.summary import Summary, Tally
from pipeline.errors import Halt, Retry
from pipeline.metrics import (
    BACKFILL_FAILURES,
    BACKFILL_LAST_PROGRESS,
    BACKFILL_ROWS,
    BACKFILL_SHARD_SECONDS,
)
from pipeline.ports import Clock, Meter
from workers.backfill.pace import Pace
from workers.backfill.shard import Progress, ShardRunner
from workers.event_loop import EventLoopThread
from workers.health import Health

log = logging.getLogger(__name__)

CYCLE_S = 0.1

FINISH_SHARE = 0.8
"""Share of the time that is left which may be planned for rows. The rest is for the commit."""

LINGER_S = 3.0
"""How long a worker that has stopped waits for its driver to hear what it has done."""

AT_ONCE = 2
"""Shards in work. With one, the last slow objects of each shard would leave the worker idle."""


@dataclass(frozen=True, slots=True)
class Done:
    """A task with what became of its rows."""

    task: Task
    summary: Summary


@dataclass(frozen=True, slots=True)
class Part:
    """How far a task is: ``done`` of ``rows`` have an outcome after ``seconds``. ``rows`` is 0
    until it is known."""

    task: Task
    done: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BackfillHealth(Health):
    """``working`` are the tasks in work, and ``parts`` how far they are. ``done`` are those that
    the driver has not acknowledged. ``rows`` counts rows that have an outcome, of all tasks since
    the start, and so do ``failed``, ``skipped``, ``bytes`` and ``codes``. ``ready`` says whether
    the worker takes tasks. ``trouble`` says which store fails, and why: one of the objects, or the
    output."""

    working: tuple[Task, ...]
    done: tuple[Done, ...]
    rows: int
    failed: int
    ready: bool
    trouble: str | None = None
    skipped: int = 0
    bytes: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """From the driver: begin these, and forget those, whose summaries have arrived. ``share`` is
    what this worker may read a second from now on; None: as before."""

    begin: tuple[Task, ...]
    forget: tuple[Task, ...]
    share: Rates | None = None


class BackfillWorker:
    """``stop``, ``health`` and ``tell`` may be called from other threads while ``run`` runs."""

    def __init__(
        self,
        loop: EventLoopThread,
        shards: ShardRunner,
        available: Callable[[], bool],
        encode_age_s: Callable[[], float],
        clock: Clock,
        trouble: Callable[[], str | None],
        meter: Meter,
    ) -> None:
        """``available`` says whether a store serves, and ``trouble`` which one fails and why.
        ``encode_age_s`` is the age of the batch on the device."""
        self._loop = loop
        self._shards = shards
        self._available = available
        self._encode_age_s = encode_age_s
        self._clock = clock
        self._trouble = trouble
        self._meter = meter
        self._pace = Pace()
        self._told: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
        self._running: dict[Task, tuple[Future[Summary], Progress]] = {}
        self._done: dict[Task, Done] = {}
        self._before: Counter[str] = Counter()
        self._codes_before: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._deadline: float | None = None
        self._returned: str | None = None
        """Why the last shard was returned, unless one was committed since."""
        self._cycled_at = self._active_at = clock.monotonic()
        self._health = self._look()

    def stop(self, grace_s: float) -> None:
        """Finish the shards that can be finished within ``grace_s``, and return the others."""
        deadline = self._clock.monotonic() + grace_s
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
        self._stopping.set()

    def tell(self, assignment: Assignment) -> None:
        self._told.put(assignment)

    def health(self) -> BackfillHealth:
        return self._health

    def run(self) -> None:
        """Work until ``stop``.

        Raises:
            Halt: the job must stop.
            Exception: this process cannot go on.
        """
        try:
            while not self._over():
                self._cycled_at = self._clock.monotonic()
                self._follow()
                self._collect()
                if self._stopping.is_set():
                    self._return_what_takes_too_long()
                self._health = self._look()
                _nap() if self._stopping.is_set() else self._stopping.wait(CYCLE_S)
        finally:
            for future, _ in self._running.values():
                future.cancel()
            self._health = self._look()

    # -- inside -----------------------------------------------------------------------------

    def _follow(self) -> None:
        while True:
            try:
                told = self._told.get_nowait()
            except queue.Empty:
                return
            if told.share is not None:
                self._loop.call_soon(self._shards.pacer.follow, told.share)
            for task in told.forget:
                self._done.pop(task, None)
            for task in told.begin:
                if task in self._running or task in self._done or self._stopping.is_set():
                    continue
                progress = Progress(began=self._clock.monotonic())
                future = self._loop.submit(self._shards.run(task, progress))
                self._running[task] = (future, progress)

    def _collect(self) -> None:
        for task, (future, progress) in list(self._running.items()):
            if not future.done():
                continue
            del self._running[task]
            self._before += _counts(progress.tally)
            self._codes_before += Counter(progress.tally.codes)
            self._active_at = self._clock.monotonic()
            try:
                done = self._done[task] = Done(task, future.result())
                if task.rows is None:
                    self._returned = None
                    self._count(done.summary)
            except CancelledError:
                continue
            except Retry as failure:
                # The driver sees that the task is neither in work nor done, and assigns it again.
                self._returned = str(failure)
                log.warning("shard %d: %s; it is returned", task.shard, failure)
            except BaseExceptionGroup as group:
                raise _first(group) from group

    def _count(self, summary: Summary) -> None:
        """A shard is committed."""
        for outcome in ("classified", "failed", "skipped"):
            self._meter.add(BACKFILL_ROWS, getattr(summary, outcome), outcome=outcome)
        for code, rows in summary.codes.items():
            self._meter.add(BACKFILL_FAILURES, rows, code=code)
        self._meter.observe(BACKFILL_SHARD_SECONDS, summary.seconds)
        self._meter.set(BACKFILL_LAST_PROGRESS, self._clock.time())

    def _return_what_takes_too_long(self) -> None:
        """What cannot be finished in time is returned at once, so that the rest is done sooner."""
        left_s = FINISH_SHARE * ((self._deadline or 0.0) - self._clock.monotonic())
        ahead = 0
        for task, (future, progress) in sorted(
            self._running.items(), key=lambda each: each[1][1].left or 0
        ):
            ahead += progress.left or 0
            if progress.left is None or self._pace.seconds_for(ahead) > left_s:
                log.info("shard %d is returned: it cannot be finished in time", task.shard)
                future.cancel()

    def _over(self) -> bool:
        if not self._loop.alive:
            raise Halt("worker.loop_died", "worker: the event loop has ended; see the log above")
        if not self._stopping.is_set():
            return False
        now = self._clock.monotonic()
        if now >= (self._deadline or 0.0):
            return True
        if self._running:
            return False
        # The driver would hand out again what it has not heard of.
        return not self._done or now - self._active_at >= LINGER_S

    def _look(self) -> BackfillHealth:
        now = self._clock.monotonic()
        counts, codes = self._before.copy(), self._codes_before.copy()
        for _, progress in self._running.values():
            counts += _counts(progress.tally)
            codes += Counter(dict(progress.tally.codes))
        rows = counts["rows"]
        self._pace.note(now, rows)
        available = self._available()
        return BackfillHealth(
            cycle_age_s=now - self._cycled_at,
            encode_age_s=self._encode_age_s(),
            commit_age_s=0.0,
            idle_s=now - self._active_at,
            partitions=len(self._running),
            unfinished=0,
            lag=None,
            committed=rows,
            passed=rows,
            available=available,
            held_up=not available,
            working=tuple(self._running),
            done=tuple(self._done.values()),
            rows=rows,
            failed=counts["failed"],
            ready=not self._stopping.is_set(),
            trouble="; ".join(filter(None, (self._trouble(), self._returned))) or None,
            skipped=counts["skipped"],
            bytes=counts["bytes"],
            codes=dict(codes),
            parts=tuple(
                Part(task, progress.tally.rows, progress.rows or 0, now - progress.began)
                for task, (_, progress) in self._running.items()
            ),
        )


def _counts(tally: Tally) -> Counter[str]:
    return Counter(rows=tally.rows, failed=tally.failed, skipped=tally.skipped, bytes=tally.bytes)


def _nap() -> None:
    threading.Event().wait(CYCLE_S)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of a group of tasks: the others were cancelled for it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
