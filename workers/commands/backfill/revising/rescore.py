"""Runs `clipstream backfill rescore` to its end, and shows what changed."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.processors import available_processors
from pipeline.backfill import layout
from pipeline.backfill.changes import Change, Changes, LabelSetChanges
from pipeline.backfill.job import Job
from pipeline.backfill.running.limits import Used
from pipeline.backfill.running.progress import Progress, State
from pipeline.ports import Clock, Encoder
from workers.backfill.output import Output, open_output, probed
from workers.backfill.report.gather import gather
from workers.backfill.report.page import Choice
from workers.backfill.revising.rescoring import (
    Rescorer,
    begin,
    child_of,
    open_parent,
    rescored,
    rules_for,
)
from workers.backfill.wiring import require_identity
from workers.commands.backfill.driving.ending import close_job, leave_report
from workers.commands.backfill.driving.gate import used_before
from workers.commands.backfill.lease import take_lease
from workers.commands.progress import open_ended
from workers.commands.signals import signals
from workers.settings.loading import Settings
from workers.stages import load_encoder
from workers.supervise.supervisor import ExitCode

MOST_THREADS = 8
"""Shards in work: each holds a results file of up to 200 MB."""


def run_rescore(
    settings: Settings,
    source: str,
    files: Sequence[Path],
    output: str | None,
    console: Console,
    load: Callable[[Settings], Encoder] = load_encoder,
) -> ExitCode:
    """Score what the job has committed and the child has not. A child whose shards are all
    committed is closed as every job, and has a report.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: a store failed.
    """
    place, clock = Output.of(source), SystemClock()
    began = clock.monotonic()
    with contextlib.ExitStack() as owned:
        folder = open_output(settings, place)
        owned.callback(folder.close)
        parent = open_parent(folder, str(place))
        rules = rules_for(parent, settings, files, load)
        child_place = probed(settings, Output.of(output or default_output(place, rules.versions)))
        child = open_output(settings, child_place)
        owned.callback(child.close)
        stopping = threading.Event()
        owned.enter_context(signals(stopping))
        lease = take_lease(child, clock, stopping.wait)
        if lease is None:
            return ExitCode.INCOMPLETE
        owned.callback(lease.give_back)
        job, identity = child_of(parent, rules)
        job = begin(child, job)
        require_identity(child, identity)
        before = used_before(child, job)
        rescorer = Rescorer(parent, child, job, identity, rules.scoring, settings.backfill)
        ready, done = rescorer.committed(folder), rescorer.committed(child)
        shards, rows = len(done), 0
        threads = min(available_processors(), MOST_THREADS)
        left = sorted(ready - done)
        with open_ended(console) as progress:
            task = progress.add_task("scoring")
            for summary in rescored(rescorer, left, threads, stopping, lease.renew_when_due):
                shards, rows = shards + 1, rows + summary.classified
                progress.update(task, description=f"{rows:,} rows scored")
        show(rescorer.changes(), console)
        console.print(f"{escape(str(child_place))}: {rows:,} rows scored now", soft_wrap=True)
        used = before.model_copy(
            update={"hours": before.hours + (clock.monotonic() - began) / 3600}
        )
        child.write(layout.PROGRESS, progress_of(job, shards, used, clock).as_bytes())
        if shards == job.shards:
            gathered = gather(child)
            close_job(child, gathered, used, clock)
            leave_report(settings, child, gathered, Choice())
            return ExitCode.OK
        if len(ready) < job.shards:
            console.print(
                f"[yellow]{len(ready):,} of {job.shards:,} shards of the job are committed; repeat "
                "this command when the others are[/]",
                soft_wrap=True,
            )
    return ExitCode.INCOMPLETE


def progress_of(job: Job, shards: int, used: Used, clock: Clock) -> Progress:
    """How far a rescoring is when its command ends, with so many shards committed."""
    at = datetime.fromtimestamp(clock.time(), UTC)
    complete = shards == job.shards
    return Progress(
        at=at.isoformat(timespec="seconds"),
        job=job.id,
        driver=socket.gethostname(),
        state=State.COMPLETE if complete else State.STOPPED,
        rows=job.rows,
        rows_committed=job.rows if complete else round(job.rows * shards / job.shards),
        shards=job.shards,
        shards_committed=shards,
        used=used,
    )


def default_output(source: Output, versions: Mapping[str, str]) -> str:
    """An output beside the job's. The same label sets have the same one, so that the command can
    be repeated."""
    meaning = "\n".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"{source}-rescored-{hashlib.sha256(meaning.encode()).hexdigest()[:8]}"


def show(changes: Changes, console: Console) -> None:
    """What changed, by label set and label, with samples."""
    for name, found in changes.label_sets.items():
        console.print(
            f"[bold]{escape(name)}[/]: {found.changed:,} of {found.rows:,} decisions change",
            soft_wrap=True,
        )
        if table := _table(found):
            console.print(table)
    if not changes.label_sets:
        console.print("The job has no label set of these names, so no decision can be compared.")


def _table(found: LabelSetChanges) -> Table | None:
    lines = [
        *((f"decision {change}", rows) for change, rows in found.decisions.items()),
        *((f"{label} matches", rows) for label, rows in found.matches.items()),
        *((f"{label} matches no more", rows) for label, rows in found.matches_no_more.items()),
    ]
    if not lines:
        return None
    table = Table()
    table.add_column("change", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("samples", overflow="fold")
    for change, rows in lines:
        table.add_row(escape(change), f"{rows.rows:,}", escape(_samples(rows)))
    return table


def _samples(change: Change) -> str:
    return "\n".join(
        each.uri
        + (
            f"  {each.before:.3f} -> {each.after:.3f}"
            if None not in (each.before, each.after)
            else ""
        )
        for each in change.samples
    )
