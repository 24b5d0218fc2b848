"""One shard: from its plan file to its committed results file."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.adapters.parquet.failures import failures_bytes
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.adapters.parquet.results import GROUP_ROWS, Result, ResultsFile
from pipeline.backfill import layout
from pipeline.backfill.committing import Committed, commit
from pipeline.backfill.job import Identity, Job
from pipeline.backfill.ledger import Task
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.report.samples import Sampler
from pipeline.backfill.rows import PlanRow
from pipeline.backfill.summary import Summary, Tally
from pipeline.errors import Halt, Reject
from pipeline.flow import Flow
from pipeline.formats.reference import SkipReason
from pipeline.ports import Folder
from pipeline.records import Asked, Classification, DeadLetter, ImageRef
from workers.label_sets import Rules

log = logging.getLogger(__name__)

LEAST_FAILURES = 100
"""Fewer failed rows never halt a job."""


@dataclass(slots=True)
class Progress:
    """How far a shard is. Read from other threads."""

    tally: Tally = field(default_factory=Tally)
    rows: int = 0


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
        *,
        gpus: float = 0.0,
    ) -> None:
        """``max_in_flight`` bounds the rows of one shard that are in work. ``gpus`` is this
        worker's part of a GPU, for the report."""
        self._folder = folder
        self._job = job
        self._identity = identity
        self._flow = flow
        self._rules = rules
        self._routes = rules.router.open_to("", ())
        self._policy = policy
        self._max_in_flight = max_in_flight
        self._gpus = gpus
        self._worker = f"{socket.gethostname()}/{os.getpid()}"

    async def run(self, task: Task, progress: Progress) -> Summary:
        """Classify the task's rows. Those of a whole shard are committed.

        Raises:
            Halt: the job must stop.
            Retry: the output's store failed.
            WorkerLost, MemoryError, OSError: this process cannot go on.
        """
        started, began_at = time.monotonic(), time.time()
        rows = await asyncio.to_thread(self._read, task.shard)
        if task.rows is not None:
            rows = rows[slice(*task.rows)]
        progress.rows = len(rows)
        shard = _Shard(self._results_file(), progress.tally, Sampler(task.shard), began_at)
        pulling = iter(rows)
        lanes = min(self._max_in_flight, len(rows))
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._classify(pulling, task, shard))
        await shard.flush()
        summary = progress.tally.summary(time.monotonic() - started)
        if task.rows is None:
            self._require_few_failures(task.shard, summary)
            await asyncio.to_thread(self._commit, task.shard, shard, summary)
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
            self._identity.dimension if self._policy.embeddings else None,
            self._identity.embedding_dtype,
            store_schema=self._policy.store_schema,
        )

    async def _classify(self, rows: Iterator[PlanRow], task: Task, shard: _Shard) -> None:
        """One of the coroutines that pull rows until none is left."""
        for row in rows:
            await shard.add(row, await self._outcome(row, task))

    async def _outcome(self, row: PlanRow, task: Task) -> Classification | DeadLetter | None:
        ref = ImageRef(
            row.bucket,
            row.key,
            row.label_sets,
            row.version_id,
            row.etag,
            row.id,
            row.tenant,
            row.metadata,
            Asked(row.label_sets, row.tenant),
        )
        if row.number in task.excluded:
            return DeadLetter(
                "internal.process_died",
                "each process that worked on this object died",
                1,
                ref=ref,
            )
        try:
            routed = self._rules.router.decide(self._routes, row.reference)
        except Reject as reject:
            return DeadLetter(reject.code, reject.message, reject.attempts, ref=ref)
        if isinstance(routed, SkipReason):
            return None
        ref = ImageRef(
            row.bucket,
            row.key,
            routed.label_sets,
            row.version_id,
            row.etag,
            row.id,
            routed.tenant,
            row.metadata,
            ref.asked,
        )
        return await self._flow.classify(ref, self._rules.scoring, source=task.shard)

    def _require_few_failures(self, shard: int, summary: Summary) -> None:
        bound = self._policy.max_failed_share * (summary.rows - summary.skipped)
        if summary.failed <= max(bound, LEAST_FAILURES):
            return
        code = max(summary.codes, key=lambda each: summary.codes[each])
        raise Halt(
            "backfill.too_many_failures",
            f"backfill: {summary.failed} of {summary.rows} rows of shard {shard} failed, most of "
            f"them with {code}, and backfill.max_failed_share is "
            f"{self._policy.max_failed_share:g}; mend the cause, or raise it",
        )

    def _commit(self, number: int, shard: _Shard, summary: Summary) -> None:
        attempt = uuid.uuid4().hex
        errors = None
        if shard.failures:
            body = failures_bytes(shard.failures)
            errors = layout.errors_file(number, hashlib.sha256(body).hexdigest())
            self._folder.write(errors, body)
        footer = Footer(
            job=self._job.id,
            shard=number,
            attempt=attempt,
            plan_hash=self._job.plan_hash,
            errors_file=errors,
            clipstream_version=self._job.clipstream_version,
            identity=self._identity,
            summary=summary,
            samples=shard.sampler.samples(),
            began_at=shard.began_at,
            ended_at=time.time(),
            worker=self._worker,
            gpus=self._gpus,
        )
        body = shard.results.finish(footer.model_dump(mode="json"))
        name = layout.data_file(number)
        if commit(self._folder, name, body, attempt, self._job.plan_hash) is Committed.BEFORE:
            log.info("shard %d was committed before, by another worker", number)


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

    async def add(self, row: PlanRow, outcome: Classification | DeadLetter | None) -> None:
        self._tally.add(outcome, row.truth)
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
