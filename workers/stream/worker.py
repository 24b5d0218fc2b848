"""The stream worker: one member of the group, one transactional producer, one failure domain.

A plain class; the wiring makes it a Ray actor. ``run`` is the Kafka thread, which alone owns the
stream and the commit window. Images live as tasks on an event loop in another thread.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline import metrics
from pipeline.commit.order import Order
from pipeline.commit.settled import Classified, Settled
from pipeline.commit.window import CommitWindow
from pipeline.errors import Halt, Retry, ends_worker
from pipeline.flow import FlowPolicy
from pipeline.ports import Assigned, ImageTrace, Polled, Stream, Unreadable
from pipeline.priority import PriorityPolicy
from pipeline.records import (
    Classification,
    DeadLetter,
    Epoch,
    ImageRef,
    Origin,
    Partition,
    Record,
    Skipped,
)
from pipeline.references import ReferencesPolicy, parse
from pipeline.rules import Scoring
from workers.backoff import Backoff
from workers.event_loop import EventLoopThread
from workers.health import Health
from workers.instruments import Instruments
from workers.label_sets import Rules
from workers.stream.commit_bounds import CommitBounds
from workers.stream.commit_gate import CommitGate
from workers.stream.committing import Committer, Publishing, dead_lettered, passed_over
from workers.stream.gauges import Gauges
from workers.stream.intake import Intake, Supply
from workers.stream.pausing import Pausing

log = logging.getLogger(__name__)

POLL_S = 0.05
"""Longest wait for records in one cycle. Completions and commits wait for the end of the poll."""

CLOSE_S = 10.0
"""Seconds that leaving the group may take when the worker ends."""

STOPPING = "the worker stops"
NO_STORE = "the store is out of service (clipstream_breaker_open); intake resumes when it answers"
_Group = tuple[Partition, Epoch]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A reference whose image is to be classified, with the label sets that it was routed to."""

    origin: Origin
    epoch: Epoch
    ref: ImageRef
    scoring: Scoring
    level: int
    trace: ImageTrace


class Classifying(Protocol):
    """The life of one image; see ``pipeline.flow.Flow``."""

    async def classify(
        self, ref: ImageRef, scoring: Scoring, level: int, source: Hashable, trace: ImageTrace
    ) -> Classification | DeadLetter: ...


@dataclass(frozen=True, slots=True)
class Images:
    """The event loop where images live, and their stages as far as the worker knows them."""

    loop: EventLoopThread
    flow: Classifying
    supply: Supply
    encode_age_s: Callable[[], float]


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """How a stream worker takes in records and commits."""

    references: ReferencesPolicy
    flow: FlowPolicy
    priority: PriorityPolicy
    order: Order
    commit_interval_s: float
    max_outcomes_per_commit: int
    max_bytes_per_commit: int


class StreamWorker:
    """Polls, classifies and commits until it is told to stop.

    Only ``stop`` and ``health`` may be called from other threads while ``run`` runs.
    """

    def __init__(
        self,
        stream: Stream,
        images: Images,
        rules: Callable[[], Rules],
        publishing: Publishing,
        gate: CommitGate,
        policy: StreamPolicy,
        instruments: Instruments,
    ) -> None:
        self._stream = stream
        self._images = images
        self._loop = images.loop
        self._supply = images.supply
        self._rules = rules
        self._publishing = publishing
        self._references = policy.references
        self._clock = clock = instruments.clock
        self._meter = meter = instruments.meter
        self._tracer = instruments.tracer
        self._window = CommitWindow(policy.order)
        self._committer = Committer(
            stream,
            self._window,
            publishing,
            gate,
            CommitBounds(policy.max_outcomes_per_commit, policy.max_bytes_per_commit),
            policy.commit_interval_s,
            instruments,
        )
        self._gauges = Gauges(stream, self._window, self._committer, clock=clock, meter=meter)
        self._intake = Intake(self._window, policy.flow, policy.priority, images.supply)
        self._pausing = Pausing(stream, clock)
        self._completions: queue.SimpleQueue[tuple[Epoch, Settled] | Exception] = (
            queue.SimpleQueue()
        )
        self._tasks: defaultdict[_Group, set[asyncio.Task[None]]] = defaultdict(set)
        self._polling = Backoff(clock, instruments.random)
        self._deadline: float | None = None
        self._stopping = threading.Event()
        self._cycled_at = self._active_at = self._unanswered_at = clock.monotonic()

    # -- other threads ----------------------------------------------------------------------

    def stop(self, grace_s: float) -> None:
        """Stop intake, finish the work within ``grace_s``, commit and leave. Returns at once.
        Unfinished work is not committed, and its records are read again. A second call can only
        shorten the time."""
        deadline = self._clock.monotonic() + grace_s
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
        self._stopping.set()

    def health(self) -> Health:
        cycled_at, active_at = self._cycled_at, self._active_at  # before now: no age is negative
        now = self._clock.monotonic()
        return Health(
            cycle_age_s=now - cycled_at,
            encode_age_s=self._images.encode_age_s(),
            commit_age_s=self._committer.failing_s(since=self._unanswered_at),
            idle_s=now - active_at,
            partitions=len(self._window.partitions),
            unfinished=self._window.unfinished,
            lag=self._gauges.lag,
            committed=self._committer.committed,
            passed=self._window.passed,
            available=self._supply.serving
            and self._stream.confirmed
            and not self._polling.failing
            and self._committer.able,
            held_up=bool(self._supply.held_up),
        )

    # -- the Kafka thread -------------------------------------------------------------------

    def run(self) -> None:
        """Work until ``stop``.

        Raises:
            Halt: a person must act; nothing further is committed.
            Exception: the worker has lost its device, has run out of memory, file descriptors or
                disk, or has a defect. Nothing further is committed; a new worker may go on.
        """
        self._meter.set(metrics.LAST_PROGRESS, self._clock.time())
        try:
            while not self._drained():
                self._cycled_at = self._clock.monotonic()
                self._poll()
                self._admit()
                self._collect()
                self._commit()
                self._gauges.update_when_due()
                self._hold_or_resume()
        finally:
            self._loop.call_soon(self._cancel, None)
            self._stream.close(CLOSE_S)

    def _poll(self) -> None:
        if not self._polling.due():
            time.sleep(POLL_S)  # a wait for the stop event would return at once while stopping
            return
        try:
            polled = self._stream.poll(max(1, self._intake.most()), POLL_S)
        except Retry as failure:
            wait_s = self._polling.failed()
            log.warning("%s; polling again in %.1f s", failure, wait_s)
            return
        self._polling.succeeded()
        self._follow(polled)
        now = self._clock.monotonic()
        for record in polled.records:
            epoch = self._window.begin(record.position, now, record.key)
            if epoch is not None:
                self._intake.add(record, epoch)
        for lost in polled.unreadable:
            self._lose(lost, now)
        if polled.records or polled.changes or polled.unreadable:
            self._active_at = now

    def _follow(self, polled: Polled) -> None:
        """Follow changes of the assignment. Work of revoked partitions is dropped."""
        for change in polled.changes:
            if isinstance(change, Assigned):
                self._window.assign(change.partition, change.progress)
                log.info("%s: assigned, from offset %s", change.partition, change.progress)
            else:
                self._void(change.partition)
                self._window.revoke(change.partition)
                self._gauges.forget(change.partition)
                log.info("%s: revoked", change.partition)
        if polled.changes:
            self._gauges.follow_assignment()
            self._pausing.forget()

    def _void(self, partition: Partition) -> None:
        """Drop the queued records and cancel the running tasks of a partition's epoch."""
        epoch = self._window.epoch(partition)
        if epoch is None:
            return
        self._intake.drop(partition)
        self._loop.call_soon(self._cancel, (partition, epoch))

    def _lose(self, lost: Unreadable, now: float) -> None:
        position = lost.position
        epoch = self._window.begin(position, now)
        if epoch is None:
            return
        origin = Origin(position, 0, timestamp_ms=-1)
        self._window.expand(position, epoch, 1)
        letter = DeadLetter("record.corrupt", lost.reason, attempts=lost.attempts)
        self._window.settle(epoch, dead_lettered(self._publishing, origin, letter))

    def _admit(self) -> None:
        """Parse queued records while there is room. A record is admitted as a whole."""
        started: list[_Begun] = []
        if not self._stopping.is_set():
            for record, epoch in self._intake.ready():
                started.extend(self._expand(record, epoch))
        if started:
            self._loop.call_soon(self._start, started)

    def _expand(self, record: Record, epoch: Epoch) -> list[_Begun]:
        level = self._intake.level(record.position.partition.topic)
        rules = self._rules()
        entries = parse(record, self._references, rules.router)
        if not self._window.expand(record.position, epoch, len(entries)):
            return []
        started = []
        for entry in entries:
            origin = entry.origin
            match entry.content:
                case ImageRef() as ref:
                    trace = self._tracer.begin(origin)
                    started.append(_Begun(origin, epoch, ref, rules.scoring, level, trace))
                case DeadLetter() as letter:
                    trace = self._tracer.begin(origin)
                    settled = dead_lettered(self._publishing, origin, letter, entry.record, trace)
                    self._window.settle(epoch, settled)
                case Skipped() as skipped:
                    self._window.settle(epoch, passed_over(self._publishing, origin, skipped))
        return started

    def _collect(self) -> None:
        while True:
            try:
                completion = self._completions.get_nowait()
            except queue.Empty:
                return
            if isinstance(completion, Exception):
                raise completion
            self._window.settle(*completion)

    def _commit(self) -> None:
        if self._polling.failing or not self._stream.confirmed:
            # While the broker is away, no worker's commits are stuck.
            self._unanswered_at = self._clock.monotonic()
        before = self._committer.committed
        if not self._stream.can_commit:
            for partition, progress in self._committer.recover():
                log.warning("%s: another owner committed %s; going on there", partition, progress)
                self._void(partition)
                self._window.assign(partition, progress)
                self._stream.seek(partition, progress.offset)
        else:
            self._committer.commit_when_due(stopping=self._stopping.is_set())
        if self._committer.committed > before:
            self._active_at = self._clock.monotonic()

    # -- backpressure -----------------------------------------------------------------------

    def _hold_or_resume(self) -> None:
        """Pause partitions that have reached a bound. Pause all partitions during an outage and
        while stopping. Polling goes on, which keeps the membership."""
        partitions = self._window.partitions
        if self._stopping.is_set():
            reasons: Mapping[Partition, str] = dict.fromkeys(partitions, STOPPING)
        elif not self._supply.available:
            reasons = dict.fromkeys(partitions, NO_STORE)
        else:
            reasons = self._intake.full(partitions)
        self._pausing.hold(partitions, reasons)

    def _drained(self) -> bool:
        if not self._loop.alive:
            raise Halt("worker.loop_died", "worker: the event loop has ended; see the log above")
        if not self._stopping.is_set():
            return False
        over = self._deadline is not None and self._clock.monotonic() >= self._deadline
        if over:
            abandoned = self._window.unfinished
            log.warning("stopping: %d references abandoned; they will be read again", abandoned)
        return over or self._nothing_to_finish()

    def _nothing_to_finish(self) -> bool:
        """Whether all begun work is committed. Outcomes behind a record that was not begun, such as
        an unreadable one, need not be waited for: both are read again."""
        window = self._window
        if window.unsettled or window.taken is not None:
            return False
        return next(window.ready(), None) is None

    # -- the event loop's thread ------------------------------------------------------------

    def _start(self, started: list[_Begun]) -> None:
        for begun in started:
            group = self._tasks[begun.origin.position.partition, begun.epoch]
            task = asyncio.get_running_loop().create_task(self._live(begun))
            group.add(task)
            task.add_done_callback(group.discard)

    async def _live(self, begun: _Begun) -> None:
        origin, ref, trace = begun.origin, begun.ref, begun.trace
        try:
            outcome = await self._images.flow.classify(
                ref, begun.scoring, begun.level, origin.position.partition, trace
            )
            if isinstance(outcome, DeadLetter):
                log.log(
                    # A defect of ours; its traceback stands in the line before.
                    logging.ERROR if outcome.code == "internal.unexpected" else logging.INFO,
                    "%s: dead letter %s",
                    origin.position,
                    outcome.code,
                    extra={"code": outcome.code},
                )
                settled: Settled = dead_lettered(self._publishing, origin, outcome, trace=trace)
            else:
                records = self._publishing.records(origin, outcome)
                action = begun.scoring.unclassified_action(ref.label_sets, outcome.matches)
                settled = Classified(origin, records, ref, action, trace, outcome.matches)
            trace.enter("publish")
        except Halt as halt:
            self._completions.put(halt)
        except Exception as error:
            if ends_worker(error):
                self._completions.put(error)
                return
            # Without an outcome the reference would block its partition for ever.
            log.exception("%s: the outcome cannot be published", origin.position)
            message = f"{origin.position}: {type(error).__name__}; see the traceback above"
            self._completions.put(Halt("worker.unexpected", message))
        else:
            self._completions.put((begun.epoch, settled))

    def _cancel(self, group: _Group | None) -> None:
        for each in list(self._tasks) if group is None else [group]:
            for task in self._tasks.pop(each, set()):
                task.cancel()
