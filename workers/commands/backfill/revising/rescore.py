"""Runs `clipstream backfill rescore` to its end, and shows what changed."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.processors import available_processors
from pipeline.backfill.changes import Change, Changes, LabelSetChanges
from pipeline.ports import Encoder
from workers.backfill.output import Output, open_output, probed
from workers.backfill.revising.rescoring import (
    Rescorer,
    begin,
    child_of,
    open_parent,
    rescored,
    rules_for,
)
from workers.backfill.wiring import require_identity
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
    """Score what the job has committed and the child has not.

    Raises:
        Halt: a person must act.
        StoreDenied, Retry: a store failed.
    """
    place = Output.of(source)
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
        lease = take_lease(child, SystemClock(), stopping.wait)
        if lease is None:
            return ExitCode.OK
        owned.callback(lease.give_back)
        job, identity = child_of(parent, rules)
        job = begin(child, job)
        require_identity(child, identity)
        rescorer = Rescorer(parent, child, job, identity, rules.scoring, settings.backfill)
        ready = rescorer.committed(folder)
        left = sorted(ready - rescorer.committed(child))
        rows = 0
        threads = min(available_processors(), MOST_THREADS)
        with open_ended(console) as progress:
            task = progress.add_task("scoring")
            for summary in rescored(rescorer, left, threads, stopping, lease.renew_when_due):
                rows += summary.classified
                progress.update(task, description=f"{rows:,} rows scored")
        show(rescorer.changes(), console)
        console.print(f"{escape(str(child_place))}: {rows:,} rows scored now", soft_wrap=True)
        if len(ready) < job.shards:
            console.print(
                f"[yellow]{len(ready):,} of {job.shards:,} shards of the job are committed; repeat "
                "this command when the others are[/]",
                soft_wrap=True,
            )
    return ExitCode.OK


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
