"""Takes rows out of a job's files, wherever the job names their objects."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from pipeline.adapters.parquet.committed import CommittedFile
from pipeline.adapters.parquet.erasing import (
    Rest,
    results_to_erase,
    without_failures,
    without_plan_rows,
    without_results,
    without_rows,
)
from pipeline.backfill import layout
from pipeline.backfill.committing import ATTEMPT, PLAN
from pipeline.backfill.erasure import Erasure, Erasures, Targets
from pipeline.backfill.job import Job
from pipeline.errors import Halt
from pipeline.ports import Folder
from workers.backfill.revising.threads import in_threads

THREADS = 4
"""Shards in work: each may hold a results file of 200 MB twice."""

_KEPT = frozenset(
    {layout.JOB, layout.IDENTITY, layout.LEASE, layout.CONTROL, layout.ERASED, layout.SUCCESS}
)
"""JSON objects that name no object of a row, but for the last, which is deleted."""

_TRIES = 3

_ERRORS = re.compile(r"errors/(\d{6})-.*")


@dataclass
class Found:
    """What was taken out of a shard's files."""

    rows: int = 0
    results: int = 0
    failures: int = 0
    files: list[str] = field(default_factory=list)


class Eraser:
    """Erases rows of one job. The caller holds the job's lease."""

    def __init__(self, folder: Folder, job: Job, targets: Targets) -> None:
        self._folder = folder
        self._job = job
        self._targets = targets

    def run(self, stopping: threading.Event, beat: Callable[[], object]) -> Erasure:
        """Erase until ``stopping``, and write down what was. ``beat`` is called each second or more
        often.

        Every file is replaced on the condition that it is still the one that was read. The plan
        comes last in each shard: a shard whose plan names a target is not done. So this can be
        called again after any end.

        Raises:
            Halt: ``backfill.changed_meanwhile``, ``backfill.unreadable``.
            StoreDenied, Retry: the store failed.
        """
        erasure = Erasure(
            targets=len(self._targets), targets_sha256=self._targets.digest, began_at=_now()
        )
        before = self._erasures()
        self._write_down([*before, erasure])
        total = Found()
        ended_at = None
        try:
            for found in self._everywhere(stopping, beat):
                total.rows += found.rows
                total.results += found.results
                total.failures += found.failures
                total.files += found.files
            unfinished = any(
                each.ended_at is None and each.targets_sha256 == erasure.targets_sha256
                for each in before
            )
            if total.files or unfinished:
                total.files += self._delete_what_sums_up()
            if not stopping.is_set():
                ended_at = _now()
        finally:
            done = erasure.model_copy(
                update={
                    "ended_at": ended_at,
                    "rows": total.rows,
                    "results": total.results,
                    "failures": total.failures,
                    "files": tuple(sorted(total.files)),
                }
            )
            self._write_down([*before, done])
        return done

    # -- inside -----------------------------------------------------------------------------

    def _everywhere(self, stopping: threading.Event, beat: Callable[[], object]) -> Iterator[Found]:
        errors: dict[int, list[str]] = {}
        others: list[str] = []
        own_plan = layout.plan_file(self._job.attempt, 0).rpartition("/")[0]
        for name in self._folder.names():
            if match := _ERRORS.fullmatch(name):
                errors.setdefault(int(match[1]), []).append(name)
            elif not name.startswith((layout.DATA, f"{own_plan}/")) and name not in _KEPT:
                others.append(name)
        tasks = chain(
            (partial(self._shard, each, errors.get(each, ())) for each in range(self._job.shards)),
            (partial(self._other, name) for name in others),
        )
        yield from in_threads(tasks, THREADS, stopping, beat)

    def _shard(self, number: int, errors: Iterable[str]) -> Found:
        found = Found()
        name = layout.plan_file(self._job.attempt, number)
        plan = self._folder.read(name)
        rest = None if plan is None else without_plan_rows(plan.body, self._targets)
        if rest is not None and not rest.erased:
            return found
        self._committed(number, found)
        for each in errors:
            self._leftover(number, each, found)
        if plan is not None and rest is not None:
            found.rows = len(rest.erased)
            self._replace(name, rest.body, plan.etag)
            found.files.append(name)
        return found

    def _committed(self, number: int, found: Found) -> None:
        """The data file of a shard, and the errors file that it names."""
        name = layout.data_file(number)
        stored = self._folder.read(name)
        if stored is None:
            return
        file = CommittedFile(stored.body, name)
        errors_file: str | None = file.footer.errors_file
        results = results_to_erase(file, self._targets)
        failures, codes = self._failures(errors_file)
        if not results and not failures.erased:
            return
        if failures.erased:
            errors_file = None
            if codes:
                digest = hashlib.sha256(failures.body).hexdigest()
                errors_file = layout.errors_file(number, digest)
                self._folder.write(errors_file, failures.body)
        attempt = uuid.uuid4().hex
        body = without_results(
            file, self._targets, codes, failures.erased, attempt=attempt, errors_file=errors_file
        )
        metadata = {ATTEMPT: attempt, PLAN: self._job.plan_hash}
        self._replace(name, body, stored.etag, metadata)
        found.results, found.failures = len(results), len(failures.erased)
        found.files.append(name)

    def _failures(self, name: str | None) -> tuple[Rest, dict[str, int]]:
        stored = None if name is None else self._folder.read(name)
        if stored is None:
            return Rest(b"", ()), {}
        rest, codes = without_failures(stored.body, self._targets)
        return rest, dict(codes)

    def _leftover(self, number: int, name: str, found: Found) -> None:
        """An errors file that the data file does not name any more, or never did."""
        named = self._folder.read(name)
        if named is None or not without_failures(named.body, self._targets)[0].erased:
            return
        self._folder.delete(name)
        found.files.append(name)

    def _other(self, name: str) -> Found:
        """Anything else that may name an object: plans that were given up, samples, reports."""
        found = Found()
        stored = self._folder.read(name)
        if stored is None:
            return found
        if name.startswith(layout.PLAN):
            if without_plan_rows(stored.body, self._targets).erased:
                self._folder.delete(name)
                found.files.append(name)
        elif name.endswith(".parquet"):
            left = without_rows(stored.body, self._targets)
            if left is not None:
                self._replace(name, left, stored.etag)
                found.files.append(name)
        elif name.endswith(".json"):
            before = json.loads(stored.body)
            after = self._targets.without(before)
            if after != before:
                body = json.dumps(after, indent=1, ensure_ascii=False).encode() + b"\n"
                self._replace(name, body, stored.etag)
                found.files.append(name)
        return found

    def _delete_what_sums_up(self) -> list[str]:
        """Delete what a driver makes anew from the other files: it has counts, names of files and
        samples of before."""
        names = [
            name
            for name in (layout.SUCCESS, *self._folder.names("report"))
            if self._folder.metadata(name) is not None
        ]
        for name in names:
            self._folder.delete(name)
        return names

    def _replace(
        self, name: str, body: bytes, etag: str, metadata: dict[str, str] | None = None
    ) -> None:
        if self._folder.replace(name, body, etag, metadata or {}) is not None:
            return
        found = self._folder.read(name)
        if found is None or found.body != body:  # else the answer to our own write was lost
            raise Halt(
                "backfill.changed_meanwhile",
                f"{name}: was written by another program meanwhile; stop the job's drivers and "
                "workers, then run this command again",
            )

    def _erasures(self) -> tuple[Erasure, ...]:
        found = self._folder.read(layout.ERASED)
        return () if found is None else Erasures.of_bytes(found.body, layout.ERASED).erasures

    def _write_down(self, erasures: Iterable[Erasure]) -> None:
        self._folder.write(layout.ERASED, Erasures(erasures=tuple(erasures)).as_bytes())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
