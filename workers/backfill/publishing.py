"""Publishes the events of a job's committed shards, lane by lane, exactly once."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.adapters.parquet.outcomes import ResultsOfShard, StoredOutcome
from pipeline.backfill import layout
from pipeline.backfill.job import Job
from pipeline.backfill.marks import LANES, Mark, Published, lane_of
from pipeline.errors import Halt, OutcomeTooLarge, Retry, StoreDenied
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.ports import Folder
from pipeline.records import DeadLetter, OutputRecord
from workers.backoff import Backoff

log = logging.getLogger(__name__)

PROGRESS_S = 10.0


class Lane(Protocol):
    """Implemented by ``pipeline.adapters.kafka.backfill.lanes.LanePublisher``."""

    @property
    def ready(self) -> bool: ...

    def take(self) -> Mark | None: ...

    def publish(self, records: Sequence[OutputRecord], mark: Mark) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Commits:
    """Most outcomes and bytes of one transaction."""

    outcomes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Destination:
    """Where events of a job go: the id of the Kafka cluster and the topic of the marks, which the
    output remembers, and how a lane is opened."""

    cluster: str
    marks: str
    open_lane: Callable[[int], Lane]


@dataclass(slots=True)
class Progress:
    """Shards of this publisher's lanes, and the rows that it has published itself."""

    published: int = 0
    committed: int = 0
    missing: int = 0
    """Shards of the plan that are not committed yet."""
    rows: int = 0

    @property
    def left(self) -> int:
        """Committed shards that are not published."""
        return self.committed - self.published

    def __str__(self) -> str:
        return (
            f"{self.published} of {self.committed} committed shards are published, "
            f"{self.missing} shards are not committed yet; {self.rows} rows were published now"
        )


@dataclass(slots=True)
class _Batch:
    """Rows of one transaction."""

    rows: list[tuple[BackfilledRow, StoredOutcome]] = field(default_factory=list)
    records: list[OutputRecord] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    """For each record, the place of its row."""
    bytes: int = 0

    def add(
        self, row: BackfilledRow, stored: StoredOutcome, records: Sequence[OutputRecord]
    ) -> None:
        self.owners += [len(self.rows)] * len(records)
        self.rows.append((row, stored))
        self.records += records
        self.bytes += sum(record.size_bytes for record in records)

    def exceeds(self, commits: Commits, records: Sequence[OutputRecord]) -> bool:
        """Whether these records need another transaction."""
        size = self.bytes + sum(record.size_bytes for record in records)
        return bool(self.rows) and (len(self.rows) >= commits.outcomes or size > commits.bytes)


class JobPublisher:
    """Publishes a job. Belongs to one thread; ``run`` blocks."""

    def __init__(
        self,
        folder: Folder,
        job: Job,
        destination: Destination,
        events: BackfillEvents,
        commits: Commits,
        backoff: Backoff,
        stopped: Callable[[float], bool],
    ) -> None:
        """``stopped`` waits for that many seconds at most, and says whether to stop."""
        self._folder = folder
        self._job = job
        self._destination = destination
        self._events = events
        self._commits = commits
        self._backoff = backoff
        self._stopped = stopped
        self._smaller: dict[BackfilledRow, OutputRecord] = {}
        self._told_at = time.monotonic()
        self.progress = Progress()

    def run(self, lanes: Collection[int], *, again: bool = False) -> Progress:
        """Publish what is committed of these lanes now. ``again``: a lane whose mark is lost is
        published from its beginning.

        Raises:
            Halt: ``backfill.*``, ``kafka.*``, ``publish.too_large``: a person must act.
            StoreDenied: the output may not be read or written.
        """
        committed: dict[int, set[int]] = {lane: set() for lane in lanes}
        for name in self._folder.names(layout.DATA):
            shard = layout.shard_of(name)
            if shard is not None and lane_of(shard) in committed:
                committed[lane_of(shard)].add(shard)
        progress = self.progress
        progress.committed = sum(map(len, committed.values()))
        planned = sum(lane_of(shard) in committed for shard in range(self._job.shards))
        progress.missing = planned - progress.committed
        for number, shards in sorted(committed.items()):
            if shards and not self._stopped(0):
                with contextlib.closing(self._destination.open_lane(number)) as lane:
                    self._publish(number, lane, shards, again=again)
        return progress

    # -- inside -----------------------------------------------------------------------------

    def _publish(self, number: int, lane: Lane, committed: set[int], *, again: bool) -> None:
        """Publish a lane. Whatever fails, its mark says where to go on."""
        mark: Mark | None = None
        before = self.progress.published
        while not self._stopped(0):
            try:
                if mark is None or not lane.ready:
                    mark = self._taken(number, lane, again=again)
                    again = False
                    self.progress.published = before + len(mark.shards & committed)
                shard = mark.next(committed)
                if shard is None:
                    return
                mark = self._publish_shard(lane, mark, shard)
                if shard in mark.shards:
                    self.progress.published += 1
                    self._remember(number, mark)
                self._backoff.succeeded()
            except StoreDenied:
                raise
            except OutcomeTooLarge:
                mark = None  # its row is replaced by a smaller one
            except Retry as failure:
                mark = None
                log.warning("%s; trying again", failure, extra={"code": failure.code})
                if self._stopped(self._backoff.failed()):
                    return
            except Halt as halt:
                if halt.code == "kafka.fenced":
                    raise Halt(
                        "backfill.second_publisher",
                        f"backfill: another publisher has taken over every 16th shard from "
                        f"{number} on; let it finish, or give each publisher its own --share",
                    ) from halt
                raise

    def _taken(self, number: int, lane: Lane, *, again: bool) -> Mark:
        mark = lane.take() or Mark()
        name = layout.published_file(self._destination.cluster, number)
        found = self._folder.read(name)
        if found is None or again:
            return mark
        noted = Published.of_bytes(found.body, name)
        if not mark.covers(Mark.parse(noted.mark)):
            raise Halt(
                "backfill.mark_lost",
                f"backfill: shards {noted.mark} were published (marks on {noted.topic}), and "
                f"Kafka does not know it any more (marks on {self._destination.marks}): its "
                "offsets may have expired, or the topic is another one; mend it, or publish all "
                "events of the job once more with --again",
            )
        return mark

    def _remember(self, number: int, mark: Mark) -> None:
        body = Published(topic=self._destination.marks, mark=str(mark)).as_bytes()
        self._folder.write(layout.published_file(self._destination.cluster, number), body)

    def _publish_shard(self, lane: Lane, mark: Mark, shard: int) -> Mark:
        """Publish the rest of a shard, in as many transactions as it needs."""
        batch = _Batch()
        for row, stored in self._rows(shard, mark.row if mark.begun == shard else 0):
            records = self._records(row, stored)
            if batch.exceeds(self._commits, records):
                mark = self._commit(lane, batch, mark.within(shard, row.row))
                batch = _Batch()
                if self._stopped(0):
                    return mark
            batch.add(row, stored, records)
        return self._commit(lane, batch, mark.after(shard))

    def _commit(self, lane: Lane, batch: _Batch, mark: Mark) -> Mark:
        try:
            lane.publish(batch.records, mark)
        except OutcomeTooLarge as failure:
            self._shrink(*batch.rows[batch.owners[failure.index]], failure)
            raise
        self.progress.rows += len(batch.rows)
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_S:
            log.info("%s", self.progress)
            self._told_at = now
        return mark

    def _rows(self, shard: int, from_row: int) -> Iterator[tuple[BackfilledRow, StoredOutcome]]:
        name = layout.data_file(shard)
        results = ResultsOfShard(self._read(name), name)
        plan = self._read(layout.plan_file(self._job.attempt, shard))
        errors = None if results.errors_file is None else self._read(results.errors_file)
        for stored in results.outcomes(plan, errors, from_row):
            yield BackfilledRow(self._job.id, shard, stored.row, stored.content_id), stored

    def _read(self, name: str) -> bytes:
        found = self._folder.read(name)
        if found is None:
            raise Halt("backfill.plan_missing", f"{name}: is gone; restore it, or run the job anew")
        return found.body

    def _records(self, row: BackfilledRow, stored: StoredOutcome) -> Sequence[OutputRecord]:
        smaller = self._smaller.get(row)
        return self._events.records(row, stored.outcome) if smaller is None else (smaller,)

    def _shrink(self, row: BackfilledRow, stored: StoredOutcome, failure: OutcomeTooLarge) -> None:
        """Replace a row's events that are too large, as the stream does: a classification by a dead
        letter, and a dead letter by one without its payload."""
        outcome = stored.outcome
        letter = (
            outcome
            if isinstance(outcome, DeadLetter)
            else DeadLetter("publish.too_large", failure.message, 1, ref=outcome.ref)
        )
        shrunk = self._events.shrink(row, letter)
        before = self._smaller.get(row)
        if before == shrunk:
            raise Halt(
                "publish.too_large",
                f"{row}: even a dead letter without its payload does not fit ({failure.message}); "
                "raise max.message.bytes of the topic of dead letters",
            )
        first = before is None and letter is not outcome
        self._smaller[row] = self._events.records(row, letter)[0] if first else shrunk
        log.warning("%s: %s; published smaller", row, failure.message)


def lanes_of(share: str) -> range:
    """The lanes of a publisher: ``2/4`` is the second of four.

    Raises:
        Halt: ``backfill.invalid_share``.
    """
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", share)
    if found is not None:
        number, count = int(found[1]), int(found[2])
        if 1 <= number <= count <= LANES:
            return range(number - 1, LANES, count)
    raise Halt(
        "backfill.invalid_share",
        f"--share {share}: is no part of a whole; write 1/4 to 4/4 for four publishers, of at most "
        f"{LANES}",
    )
