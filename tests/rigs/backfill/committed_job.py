"""A job whose shards are committed, with files as a worker writes them."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.columns import Stored
from pipeline.adapters.parquet.cutting import Cutter, listed
from pipeline.adapters.parquet.failures import failures_bytes
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.adapters.parquet.results import ResultsFile
from pipeline.backfill import layout
from pipeline.backfill.committing import ATTEMPT, PLAN
from pipeline.backfill.job import Job
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.summary import Summary
from pipeline.ports import ListedPage
from pipeline.records import DeadLetter
from tests.rigs.backfill.job_driver import job_of
from tests.rigs.backfill.written import IDENTITY


def plan_job(folder: MemoryFolder, rows: int, shard_rows: int) -> Job:
    """A job of objects `0000.jpg`, `0001.jpg`, … that is cut and not begun."""
    cutter = Cutter(
        shard_rows, lambda shard, body: folder.write(layout.plan_file("a1", shard), body)
    )
    keys = [f"{each:04}.jpg" for each in range(rows)]
    etags = [f"etag-{each}" for each in range(rows)]
    for some in listed([ListedPage("photos", keys, etags, [100] * rows)]):
        cutter.add(some)
    plan_hash = cutter.finish()
    job = job_of(cutter.shards, rows=rows, shard_rows=shard_rows, plan_hash=plan_hash)
    folder.write(layout.JOB, job.as_bytes())
    return job


def commit_shard(
    folder: MemoryFolder, job: Job, shard: int, failed: Mapping[int, str] | None = None
) -> None:
    """Commit a shard of which the rows ``failed`` have failed, each with a code. Its results have
    no rows: nobody here reads them."""
    found = folder.read(layout.plan_file(job.attempt, shard))
    assert found is not None
    rows = list(plan_rows(found.body))
    letters = [
        (rows[number], DeadLetter(code, "why", 1)) for number, code in (failed or {}).items()
    ]
    errors = None
    if letters:
        errors = layout.errors_file(shard, f"{shard:016}")
        folder.write(errors, failures_bytes(letters))
    codes = [letter.code for _, letter in letters]
    summary = Summary(
        rows=len(rows),
        classified=len(rows) - len(letters),
        failed=len(letters),
        seconds=10.0,
        codes={code: codes.count(code) for code in codes},
    )
    results = ResultsFile({"moderation": ("nudity", "safe")}, Stored(None), store_schema=True)
    footer = Footer(
        job=job.id,
        shard=shard,
        attempt="x",
        plan_hash=job.plan_hash,
        errors_file=errors,
        clipstream_version="0",
        identity=IDENTITY,
        summary=summary,
    )
    body = results.finish(footer.model_dump(mode="json"))
    metadata = {ATTEMPT: footer.attempt, PLAN: footer.plan_hash}
    folder.write(layout.data_file(shard), body, metadata)
