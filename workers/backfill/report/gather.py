"""Reads what a job's data files say about themselves, and puts it together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from pipeline.adapters.parquet.footer import read_footer
from pipeline.backfill import layout
from pipeline.backfill.job import Identity, Job, require_job
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.report.pace import Span
from pipeline.backfill.report.samples import JobSamples
from pipeline.backfill.running.ending import Files
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt
from pipeline.ports import Folder

READERS = 16
"""Footers that are read at a time."""


@dataclass(slots=True)
class Gathered:
    """A job and what its committed shards say. ``identity`` is None before the first commit."""

    job: Job
    identity: Identity | None = None
    summary: Summary = field(default_factory=Summary)
    samples: JobSamples = field(default_factory=JobSamples)
    spans: list[Span] = field(default_factory=list)
    files: list[Files] = field(default_factory=list)

    @property
    def shards(self) -> int:
        """How many are committed."""
        return len(self.spans)

    @property
    def complete(self) -> bool:
        return self.shards == self.job.shards


def gather(folder: Folder) -> Gathered:
    """Read the job and the footers of all its data files. Blocks. Memory holds one summary, the
    samples that are shown, and a few numbers and names for each shard.

    Raises:
        Halt: ``backfill.no_job``: this is no output of a job. ``backfill.foreign_output``: a data
            file is of another one. ``backfill.unreadable``.
        StoreDenied, Retry: the store failed.
    """
    gathered = Gathered(require_job(folder, layout.JOB))
    names = (name for name in folder.names(layout.DATA) if layout.shard_of(name) is not None)
    for footer in _footers(folder, names):
        gathered.identity = gathered.identity or footer.identity
        gathered.samples.add(footer.shard, footer.samples)
        gathered.spans.append(footer.span)
        gathered.files.append(_files(footer, gathered.job))
        gathered.summary += footer.summary
    return gathered


def _files(footer: Footer, job: Job) -> Files:
    name = layout.data_file(footer.shard)
    if footer.plan_hash != job.plan_hash:
        raise Halt(
            "backfill.foreign_output",
            f"{name}: belongs to another job; choose an empty output",
        )
    return Files(
        data=name,
        rows=footer.summary.classified,
        errors=footer.errors_file,
        failed=footer.summary.failed,
    )


def _footers(folder: Folder, names: Iterable[str]) -> Iterator[Footer]:
    """In the order of the names, a few ahead of whoever reads them."""
    remaining = iter(names)
    with ThreadPoolExecutor(READERS, thread_name_prefix="footers") as pool:

        def begin(count: int) -> list[Future[Footer | None]]:
            return [pool.submit(read_footer, folder, name) for name in islice(remaining, count)]

        reading = begin(2 * READERS)
        try:
            while reading:
                footer = reading.pop(0).result()
                reading += begin(1)
                if footer is not None:
                    yield footer
        finally:
            for each in reading:
                each.cancel()
