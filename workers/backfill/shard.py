"""One shard: from its plan file to its committed results file."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TypeVar

from pipeline.adapters.parquet.columns import Stored
from pipeline.adapters.parquet.failures import failures_bytes
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.adapters.parquet.results import GROUP_ROWS, Result, ResultsFile
from pipeline.backfill import layout
from pipeline.backfill.budget import most_frequent_code, too_many_failures
from pipeline.backfill.committing import Committed, commit
from pipeline.backfill.job import Identity, Job
from pipeline.backfill.ledger import Task
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.report.samples import Sampler
from pipeline.backfill.rows import PlanRow, rows_by_content
from pipeline.backfill.summary import Summary, Tally
from pipeline.errors import Halt, Reject, Retry, StoreDenied
from pipeline.flow import Flow
from pipeline.formats.reference import SkipReason
from pipeline.ports import Folder
from pipeline.records import Classification, DeadLetter, ImageRef
from workers.backfill.pacer import Pacer
from workers.label_sets import Rules

log = logging.getLogger(__name__)

PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0)
"""Waits between tries on the output's store. A shard whose rows are done is worth some."""

_OF_BYTES = "decode."
"""Codes of failures that the same bytes have under any name."""

T = TypeVar("T")


@dataclass(slots=True)
class Progress:
    """How far a shard is. Read from other threads. ``rows`` are those of the task; None until they
    are known."""

    tally: Tally = field(default_factory=Tally)
    rows: int | None = None
    began: float = 0.0
    """On the worker's monotonic clock."""

    @property
    def left(self) -> int | None:
        """Rows without an outcome; None while their number is not known."""
        return None if self.rows is None else self.rows - self.tally.rows


class ShardRunner:
    """Runs shards of one job on the caller's event loop."""

    def __init__(
        self,
        folder: Folder,
        job: Job,
        identity: Identity,
        flow: Flow,
        rules: Rules,
        policy: BackfillPolicy,
        max_in_flight: int,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        *,
        gpus: float = 0.0,
    ) -> None:
        """``max_in_flight`` bounds the rows of one shard that are in work. ``sleep`` waits between
        tries on the output's store. ``gpus`` is this worker's part of a GPU, for the report."""
        self._folder = folder
        self._job = job
        self._identity = identity
        self._flow = flow
        self._rules = rules
        self._routes = rules.router.open_to("", ())
        self._policy = policy
        self._max_in_flight = max_in_flight
        self._sleep = sleep
        self._gpus = gpus
        self._worker = f"{socket.gethostname()}/{os.getpid()}"
        self.pacer = Pacer()
        """Keeps the worker within its share of the job's rate."""

    async def run(self, task: Task, progress: Progress) -> Summary:
        """Classify the task's rows. Those of a whole shard are committed.

        Raises:
            Halt: the job must stop: too many rows failed, the output belongs to another job, or its
                store refuses us.
            Retry: the output's store failed for minutes.
            WorkerLost, MemoryError, OSError: this process cannot go on.
        """
        started, began_at = time.monotonic(), time.time()
        rows = await self._patiently(lambda: self._read(task.shard))
        if task.rows is not None:
            rows = rows[slice(*task.rows)]
        progress.rows = len(rows)
        shard = _Shard(self._results_file(), progress.tally, Sampler(task.shard), began_at)
        pulling = rows_by_content(rows, together=bool(self._job.copies))
        lanes = min(self._max_in_flight, len(rows))
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._classify(pulling, task, shard))
        await shard.flush()
        summary = progress.tally.summary(time.monotonic() - started)
        if task.rows is None:
            self._require_few_failures(task.shard, shard, summary)
            await self._commit(task.shard, shard, summary)
        return summary

    # -- inside -----------------------------------------------------------------------------

    def _read(self, shard: int) -> list[PlanRow]:
        name = layout.plan_file(self._job.attempt, shard)
        found = self._folder.read(name)
        if found is None:
            raise Halt("backfill.plan_missing", f"{name}: is gone; restore it, or plan a new job")
        return list(plan_rows(found.body))

    def _results_file(self) -> ResultsFile:
        return ResultsFile(
            self._rules.labels,
            Stored(
                self._identity.dimension if self._policy.embeddings else None,
                self._identity.embedding_dtype,
                self._identity.has_views,
                self._policy.view_embeddings,
            ),
            store_schema=self._policy.store_schema,
        )

    async def _classify(self, pulling: Iterator[list[PlanRow]], task: Task, shard: _Shard) -> None:
        """One of the coroutines that pull rows until none is left."""
        for rows in pulling:
            known: Classification | DeadLetter | None = None
            for row in rows:
                routed = self._routed(row, task)
                if not isinstance(routed, ImageRef):
                    await shard.add(row, routed)
                elif known is None:
                    outcome = await self._outcome(row, routed, task)
                    await shard.add(row, outcome)
                    if _holds_for_copies(row, outcome):
                        known = outcome
                else:
                    await shard.add(row, await self._copied(routed, known), copied=True)
                    # Thousands of copies must not keep the loop from its other images.
                    await asyncio.sleep(0)

    def _routed(self, row: PlanRow, task: Task) -> ImageRef | DeadLetter | None:
        """What to look at; else the outcome of a row whose object is not looked at."""
        if row.number in task.excluded:
            return DeadLetter(
                "internal.process_died",
                "each process that worked on this object died",
                1,
                ref=row.ref(row.label_sets, row.tenant),
            )
        try:
            routed = self._rules.router.decide(self._routes, row.reference)
        except Reject as reject:
            return DeadLetter(
                reject.code,
                reject.message,
                reject.attempts,
                ref=row.ref(row.label_sets, row.tenant),
            )
        if isinstance(routed, SkipReason):
            return None
        return row.ref(routed.label_sets, routed.tenant)

    async def _outcome(
        self, row: PlanRow, ref: ImageRef, task: Task
    ) -> Classification | DeadLetter:
        await self.pacer.begin(row.size_bytes)
        outcome = await self._flow.classify(ref, self._rules.scoring, source=task.shard)
        if row.size_bytes is None and isinstance(outcome, Classification):
            self.pacer.charge(outcome.looked.size_bytes)
        return outcome

    async def _copied(
        self, ref: ImageRef, known: Classification | DeadLetter
    ) -> Classification | DeadLetter:
        """The outcome of an object with the bytes of another one, whose outcome is known."""
        scoring = self._rules.scoring
        if isinstance(known, Classification):
            return await self._flow.classify(ref, scoring, looked=known.looked)
        action = scoring.unclassified_action(ref.label_sets)
        return replace(known, ref=ref, unclassified_action=action)

    def _require_few_failures(self, number: int, shard: _Shard, summary: Summary) -> None:
        code = most_frequent_code(summary)
        examples = (letter.message for _, letter in shard.failures if letter.code == code)
        halt = too_many_failures(
            summary, self._policy.max_failed_share, f"shard {number}", next(examples, None)
        )
        if halt is not None:
            raise halt

    async def _commit(self, number: int, shard: _Shard, summary: Summary) -> None:
        """Errors first: what a results file names is there."""
        attempt = uuid.uuid4().hex
        errors = await self._write_failures(number, shard)
        footer = Footer(
            job=self._job.id,
            shard=number,
            attempt=attempt,
            plan_hash=self._job.plan_hash,
            errors_file=errors,
            clipstream_version=version("clipstream"),
            identity=self._identity,
            summary=summary,
            samples=shard.sampler.samples(),
            began_at=shard.began_at,
            ended_at=time.time(),
            worker=self._worker,
            gpus=self._gpus,
        )
        body = await asyncio.to_thread(shard.results.finish, footer.model_dump(mode="json"))
        name, plan_hash = layout.data_file(number), self._job.plan_hash
        committed = await self._patiently(
            lambda: commit(self._folder, name, body, attempt, plan_hash)
        )
        if committed is Committed.BEFORE:
            log.info("shard %d was committed before, by another worker", number)

    async def _write_failures(self, number: int, shard: _Shard) -> str | None:
        if not shard.failures:
            return None
        body = await asyncio.to_thread(failures_bytes, shard.failures)
        name = layout.errors_file(number, hashlib.sha256(body).hexdigest())
        await self._patiently(lambda: self._folder.write(name, body))
        return name

    async def _patiently(self, call: Callable[[], T]) -> T:
        """A call to the output's store, in a thread. What fails is tried again for some minutes.

        Raises:
            Halt: ``backfill.output_refused``.
            Retry: the store still fails.
        """
        for seconds in PATIENCE_S:
            try:
                return await asyncio.to_thread(call)
            except Retry as failure:
                log.warning("%s; next try in %.0f s", failure, seconds)
            await self._sleep(seconds)
        try:
            return await asyncio.to_thread(call)
        except StoreDenied as refusal:
            # Every worker would meet it, after as much work.
            raise Halt("backfill.output_refused", refusal.message) from refusal


class _Shard:
    """What became of a shard's rows so far."""

    def __init__(
        self, results: ResultsFile, tally: Tally, sampler: Sampler, began_at: float
    ) -> None:
        self.results = results
        self.sampler = sampler
        self.began_at = began_at
        self.failures: list[tuple[PlanRow, DeadLetter]] = []
        self._tally = tally
        self._group: list[Result] = []
        self._writing = asyncio.Lock()

    async def add(
        self,
        row: PlanRow,
        outcome: Classification | DeadLetter | None,
        *,
        copied: bool = False,
    ) -> None:
        self._tally.add(outcome, row.truth, copied=copied)
        if not copied:
            # A sample of one picture many times would show a person little.
            self.sampler.add(row, outcome)
        if isinstance(outcome, DeadLetter):
            self.failures.append((row, outcome))
        elif outcome is not None:
            self._group.append((row, outcome))
            if len(self._group) >= GROUP_ROWS:
                await self.flush()

    async def flush(self) -> None:
        """Write the rows that were gathered, in a thread. Whoever comes meanwhile gathers on."""
        group, self._group = self._group, []
        async with self._writing:
            await asyncio.to_thread(self.results.write, group)


def _holds_for_copies(row: PlanRow, outcome: Classification | DeadLetter) -> bool:
    """Whether the outcome is one of the object's bytes, which are those that the row names. An
    object that could not be read says nothing of its copies."""
    if isinstance(outcome, DeadLetter):
        return outcome.code.startswith(_OF_BYTES)
    return row.etag is None or outcome.etag == row.etag
