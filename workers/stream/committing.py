"""Commits of a stream worker: when a commit is due, what its result means, and what to do if an
outcome is too large. Runs on the Kafka thread, between polls, so a rebalance never races a
commit."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from pipeline import metrics
from pipeline.commit.settled import Classified, DeadLettered, PassedOver, Settled
from pipeline.commit.window import Batch, CommitWindow
from pipeline.errors import CommitDoubtful, Halt, OutcomeTooLarge, Unconfirmed
from pipeline.ports import UNTRACED, Commit, ImageTrace, Stream
from pipeline.records import (
    DeadLetter,
    Origin,
    Outcome,
    OutputRecord,
    Partition,
    Record,
    Skipped,
)
from pipeline.records.progress import Progress
from workers.backoff import Backoff
from workers.instruments import Instruments
from workers.stream.commit_bounds import CommitBounds
from workers.stream.commit_gate import CommitGate

log = logging.getLogger(__name__)

INTERRUPTED_S = 5.0
"""A worker that cannot commit for this long is out of service. A broker's restart takes less."""


class Publishing(Protocol):
    """Outcomes as records to publish."""

    def records(
        self, origin: Origin, outcome: Outcome, record: Record | None = None
    ) -> tuple[OutputRecord, ...]: ...

    def shrink(
        self, origin: Origin, letter: DeadLetter, record: Record | None = None
    ) -> tuple[OutputRecord, ...]: ...


def dead_lettered(
    publishing: Publishing,
    origin: Origin,
    letter: DeadLetter,
    record: Record | None = None,
    trace: ImageTrace = UNTRACED,
) -> DeadLettered:
    """A dead letter, ready to publish. Its trace, if it has one, is told."""
    trace.fail(letter.code)
    return DeadLettered(origin, publishing.records(origin, letter, record), letter, record, trace)


def passed_over(publishing: Publishing, origin: Origin, skipped: Skipped) -> PassedOver:
    """A skip, ready to publish if it is the removal of an object."""
    return PassedOver(origin, skipped.reason, publishing.records(origin, skipped))


class Committer:
    """Publishes what may be committed of the commit window.

    No transaction is opened before all its outcomes are in memory. After a doubtful commit, nothing
    is committed until ``recover`` has found out whether it succeeded.
    """

    def __init__(
        self,
        stream: Stream,
        window: CommitWindow,
        publishing: Publishing,
        gate: CommitGate,
        bounds: CommitBounds,
        interval_s: float,
        instruments: Instruments,
    ) -> None:
        self._stream = stream
        self._window = window
        self._publishing = publishing
        self._interval_s = interval_s
        self._bounds = bounds
        self._gate = gate
        self._clock = instruments.clock
        self._meter = instruments.meter
        self._tracer = instruments.tracer
        self._recovery = Backoff(instruments.clock, instruments.random)
        self._tried_at = self._succeeded_at = self._clock.monotonic()
        # None: commits can be made. A new worker is out of service until its first ``recover``.
        self._barred_since: float | None = -math.inf
        # None: no commit has failed since one succeeded. Kept apart from the time above, because a
        # producer can often be built although nothing can be published (too few replicas, a missing
        # leader).
        self._failing_since: float | None = None
        self.committed = 0
        """References whose outcome this worker has committed."""

    def commit_when_due(self, *, stopping: bool = False) -> None:
        """Commit if the interval is over or a transaction is full. ``stopping``: no more outcomes
        will follow."""
        now = self._clock.monotonic()
        self._barred_since = None
        full = (
            self._window.settled >= self._bounds.outcomes
            or self._window.settled_bytes >= self._bounds.bytes
        )
        if not full and now - self._tried_at < self._interval_s:
            return
        self._tried_at = now
        self._commit(stopping)

    def age_s(self) -> float:
        """Seconds since the last successful commit while an outcome could have been committed. An
        image without an outcome is not waiting for a commit."""
        now = self._clock.monotonic()
        if self._window.taken is None and next(self._window.ready(), None) is None:
            self._succeeded_at = now
        return now - self._succeeded_at

    @property
    def able(self) -> bool:
        """Whether commits can be made, or could until a moment ago. For any thread."""
        now = self._clock.monotonic()
        return all(
            since is None or now - since <= INTERRUPTED_S
            for since in (self._barred_since, self._failing_since)
        )

    def failing_s(self, since: float) -> float:
        """Seconds for which commits have failed, counted from ``since`` on. 0 if no commit has
        failed since one succeeded, or if nothing is to be committed now. For any thread."""
        starts = [each for each in (self._barred_since, self._failing_since) if each is not None]
        if not starts:
            return 0.0
        return max(0.0, self._clock.monotonic() - max(min(starts), since))

    def recover(self) -> tuple[tuple[Partition, Progress], ...]:
        """Called after a doubtful commit, and at the start. Builds a new producer, then finds out
        whether the doubtful batch was committed.

        Returns:
            Partitions whose committed offset somebody else has moved, with the progress to go on
                from.
        """
        if self._barred_since is None:
            self._barred_since = self._clock.monotonic()
        if not self._recovery.due():
            return ()
        try:
            committed = self._stream.recover()
        except Unconfirmed:
            return ()
        except CommitDoubtful as failure:
            wait_s = self._recovery.failed()
            log.warning("%s; trying again in %.1f s", failure, wait_s)
            return ()
        self._recovery.succeeded()
        self._barred_since = None
        batch = self._window.taken
        if batch is None:
            return ()
        done, moved = self._window.reconcile(committed)
        if len(done) < len(batch.outcomes):
            self._bounds.failed(batch)
        else:
            self._failing_since = None
        if done:  # a transaction is visible as a whole or not at all
            self._succeeded_at = self._clock.monotonic()
            self._meter.add(metrics.COMMITS)
        self._account(done)
        return moved

    def _commit(self, stopping: bool) -> None:
        """One transaction: what may be committed of every partition."""
        self._window.advance(self._stream.positions())
        batch = self._window.take(self._bounds.outcomes, self._bounds.bytes)
        if batch is None:
            self._failing_since = None
            self._gate.nothing_waits()
            return
        # The gate judges all finished outcomes and not this batch alone, which may be small after a
        # doubtful commit. Most of a window of failures must not pass in small pieces.
        if not self._gate.admits(self._window.ready(), stopping=stopping):
            self._window.abandon()
            # No commit is tried while the gate holds outcomes back, so none fails.
            self._failing_since = None
            return
        records = tuple(record for settled in batch.outcomes for record in settled.records)
        started = self._clock.monotonic()
        try:
            self._stream.commit(Commit(batch.progress, records))
        except OutcomeTooLarge as failure:
            self._window.abandon()
            self._shrink(batch, failure)
        except CommitDoubtful as failure:
            self._meter.add(metrics.COMMIT_FAILURES)
            if self._failing_since is None:
                self._failing_since = started
            log.warning("%s; whether it succeeded is found out before the next commit", failure)
        else:
            self._succeeded_at = self._clock.monotonic()
            self._failing_since = None
            self._meter.observe(metrics.STAGE_SECONDS, self._succeeded_at - started, stage="commit")
            self._meter.add(metrics.COMMITS)
            self._bounds.succeeded()
            done = self._window.confirm()
            self._account(done.outcomes)

    def _shrink(self, batch: Batch, failure: OutcomeTooLarge) -> None:
        """Replace an outcome that is too large: a classification or a removal by a dead letter, a
        dead letter by one without its payload. The other outcomes go again with the next commit."""
        settled = _owner(batch, failure.index)
        where = settled.origin.position
        if not isinstance(settled, DeadLettered):
            letter = DeadLetter("publish.too_large", failure.message, attempts=1)
            if isinstance(settled, Classified):
                letter = replace(
                    letter,
                    ref=settled.ref,
                    unclassified_action=settled.unclassified_action,
                    matches=settled.matches,
                )
            log.warning(
                "%s: %s; dead-lettered instead", where, failure.message, extra={"code": letter.code}
            )
            self._window.replace(
                dead_lettered(self._publishing, settled.origin, letter, trace=settled.trace)
            )
            return
        letter = settled.letter
        smaller = self._publishing.shrink(settled.origin, letter, settled.record)
        if smaller == settled.records:
            raise Halt(
                "publish.too_large",
                f"{where}: even a dead letter without its payload does not fit "
                f"({failure.message}); raise max.message.bytes of the dead-letter topic",
            )
        log.warning(
            "%s: %s; published without its payload",
            where,
            failure.message,
            extra={"code": letter.code},
        )
        self._window.replace(replace(settled, records=smaller))

    def _account(self, outcomes: Sequence[Settled]) -> None:
        """Note what the latest commit has made visible."""
        self._tracer.committed((settled.trace for settled in outcomes), self._tried_at)
        now = self._clock.time()
        for settled in outcomes:
            self._gate.committed(settled)
            match settled:
                case Classified():
                    self._meter.add(metrics.REFERENCES, outcome="classified")
                case DeadLettered(letter=letter):
                    self._meter.add(metrics.REFERENCES, outcome="dead_letter")
                    self._meter.add(metrics.DEAD_LETTERS, code=letter.code)
                    if letter.format is not None:
                        self._meter.add(metrics.UNSUPPORTED_FORMATS, format=letter.format)
                case PassedOver(reason=reason):
                    self._meter.add(metrics.REFERENCES, outcome="skipped")
                    self._meter.add(metrics.SKIPPED, reason=reason)
            if settled.origin.timestamp_ms >= 0:
                latency_s = max(0.0, now - settled.origin.timestamp_ms / 1000)
                self._meter.observe(metrics.LATENCY_SECONDS, latency_s)
        if outcomes:
            self._meter.set(metrics.LAST_PROGRESS, now)
            # Last: a thread that sees the new number finds its metrics counted.
            self.committed += len(outcomes)


def _owner(batch: Batch, index: int) -> Settled:
    """The outcome that the commit's record at ``index`` belongs to."""
    for settled in batch.outcomes:
        if index < len(settled.records):
            return settled
        index -= len(settled.records)
    raise IndexError(f"committing: the batch has no record {index}")
