"""`clipstream backfill retry`: the failed rows of a job, as a job of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from pipeline.backfill import layout
from pipeline.backfill.job import Job, read_job
from pipeline.backfill.running.limits import Limits
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output
from workers.backfill.repeating import options_of, plan_failed, require_same
from workers.commands.backfill.driver import run_job
from workers.commands.backfill.lease import HeldLease
from workers.commands.backfill.new_job import shard_rows
from workers.settings.loading import Settings
from workers.supervise.supervisor import ExitCode


def run_retry(
    settings: Settings,
    output: str,
    codes: Sequence[str],
    into: str | None,
    limits: Limits,
) -> ExitCode:
    """Cut a child job from the failed rows of the job at ``output``, and run it to its end.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: the output's store failed.
    """
    parent_place = Output.of(output)
    with contextlib.closing(open_output(settings, parent_place)) as parent:

        def find(child: Folder, lease: HeldLease, stopping: threading.Event) -> Job | None:
            found = read_job(child)
            if found is not None:
                require_same(found, str(parent_place), codes)
                return found

            def tell(rows: int) -> bool:
                lease.renew_when_due()
                return not stopping.is_set()

            uri, rows = str(parent_place), shard_rows(settings)
            return plan_failed(parent, uri, child, codes, rows, tell)

        def opened(number: int) -> contextlib.AbstractContextManager[Folder]:
            place = Output.of(child_of(parent_place, number))
            return contextlib.closing(open_output(settings, place))

        child = into or child_of(parent_place, next_child(opened, codes))
        return run_job(settings, child, find, limits)


def child_of(parent: Output, number: int) -> str:
    return f"{parent}/retry-{number}"


def next_child(
    opened: Callable[[int], contextlib.AbstractContextManager[Folder]], codes: Sequence[str]
) -> int:
    """The number of the child that is to run: the first one that is free, or that repeats the same
    codes and is not complete. ``opened`` opens the output of a child by its number."""
    number = 0
    while True:
        number += 1
        with opened(number) as folder:
            job = read_job(folder)
            if job is None:
                return number
            same = job.source.options == options_of(codes)
            if same and folder.read(layout.SUCCESS) is None:
                return number
