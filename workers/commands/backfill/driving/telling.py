"""Tells how far a job is: ``progress.json``, a person, and Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from pipeline.backfill.job import Job
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.running.limits import Used
from pipeline.backfill.running.pace import Pace
from pipeline.backfill.running.progress import (
    MOST_ASIDE,
    MOST_SLOW,
    InWork,
    Progress,
    State,
)
from pipeline.ports import Clock
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.driving.sizing import JobSizing
from workers.supervise.standing import Standing

TOLD_S = 1.0
"""Between two views for a person at a terminal."""

PROGRESS_S = 10.0
"""Between two writes of ``progress.json``."""


class View(Protocol):
    """Shows a person how far a job is."""

    def show(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


class Teller:
    """What is known of the job, at every look of the driver."""

    def __init__(
        self,
        job: Job,
        driver: str,
        ledger: Ledger,
        dispatcher: Dispatcher,
        sizing: JobSizing,
        clock: Clock,
        show: Callable[[Progress], object],
    ) -> None:
        """``driver`` says where this driver runs. ``show`` is called with each new look."""
        self._job = job
        self._driver = driver
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._sizing = sizing
        self._clock = clock
        self._show = show
        self._pace = Pace(clock)
        self._told_at: float | None = None
        self.latest: Progress | None = None

    def look(self, state: State, reason: str, standing: Standing, used: Used) -> None:
        now = self._clock.monotonic()
        counts = self._dispatcher.counts
        running = state is State.RUNNING and self._dispatcher.workers > 0
        self._pace.see(counts["rows"], counts["bytes"], running=running)
        if self._told_at is None or now - self._told_at >= TOLD_S:
            self._told_at = now
            self.tell(state, reason, standing, used)

    def tell(self, state: State, reason: str, standing: Standing, used: Used) -> Progress:
        """What is known now, whenever it was told last."""
        job, ledger, dispatcher = self._job, self._ledger, self._dispatcher
        counts = dispatcher.counts
        parts = [each for each in dispatcher.parts if each[1].task.rows is None]
        done = len(ledger.done)
        committed = job.rows if ledger.complete else round(job.rows * done / job.shards)
        rows_left = job.rows - committed - sum(part.done for _, part in parts)
        slowest = sorted(parts, key=lambda each: each[1].seconds, reverse=True)[:MOST_SLOW]
        at = datetime.fromtimestamp(self._clock.time(), UTC)
        self.latest = Progress(
            at=at.isoformat(timespec="seconds"),
            job=job.id,
            driver=self._driver,
            state=state,
            reason=reason,
            rows=job.rows,
            rows_committed=committed,
            shards=job.shards,
            shards_committed=done,
            shards_in_work=len(ledger.in_work),
            set_aside=tuple(sorted(ledger.set_aside)[:MOST_ASIDE]),
            rows_looked_at=counts["rows"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            bytes=counts["bytes"],
            codes=dict(dispatcher.codes.most_common()),
            rate=self._pace.rate,
            byte_rate=self._pace.byte_rate,
            left=self._pace.left(max(0, rows_left)),
            workers=self._sizing.wanted,
            places={str(place): count for place, count in standing.states.items() if count},
            given_back=self._sizing.given_back,
            slowest=tuple(
                InWork(
                    shard=part.task.shard,
                    worker=number,
                    done=part.done,
                    rows=part.rows,
                    seconds=round(part.seconds, 1),
                )
                for number, part in slowest
            ),
            used=used,
        )
        self._show(self.latest)
        return self.latest
