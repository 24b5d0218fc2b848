"""Runs `clipstream backfill erase` to its end, and shows what was erased."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.adapters.clock import SystemClock
from pipeline.backfill import layout
from pipeline.backfill.erasure import Erasure, Targets
from pipeline.backfill.job import require_job
from pipeline.errors import Halt
from workers.audit import Act, note, operator
from workers.backfill.output import Output, open_output, probed
from workers.backfill.revising.erasing import Eraser
from workers.commands.backfill.lease import take_lease
from workers.commands.signals import signals
from workers.settings.loading import Settings
from workers.supervise.supervisor import ExitCode


def run_erase(settings: Settings, output: str, keys: Path, console: Console) -> ExitCode:
    """Erase what the file names.

    Raises:
        Halt: a person must act. ``backfill.second_driver``: a driver runs the job.
        StoreDenied, Retry: the output's store failed.
    """
    targets = read_targets(keys)
    place = probed(settings, Output.of(output))
    stopping = threading.Event()
    with signals(stopping), contextlib.closing(open_output(settings, place)) as folder:
        job = require_job(folder, str(place))
        lease = take_lease(folder, SystemClock(), stopping.wait)
        if lease is None:
            return ExitCode.OK
        try:
            with console.status("erasing"):
                erasure = Eraser(folder, job, targets).run(stopping, lease.renew_when_due)
        finally:
            lease.give_back()
    rows = f"{erasure.rows} rows of {erasure.targets} named objects in {place}"
    note(Act.ERASED, operator(), rows)
    show(erasure, place, console)
    return ExitCode.OK


def read_targets(keys: Path) -> Targets:
    """
    Raises:
        Halt: ``backfill.invalid``: the file cannot be read, or a line is no object.
    """
    try:
        with keys.open(encoding="utf-8", newline="\n") as lines:
            return Targets.of_lines(lines, str(keys))
    except (OSError, UnicodeDecodeError) as error:
        raise Halt("backfill.invalid", f"{keys}: cannot be read as text ({error})") from error


def show(erasure: Erasure, place: Output, console: Console) -> None:
    said = (
        f"{erasure.rows:,} rows of {erasure.targets:,} named objects erased: "
        f"{erasure.results:,} results, {erasure.failures:,} failures. {len(erasure.files):,} files "
        f"were rewritten or deleted; {place}/{layout.ERASED} lists them."
    )
    console.print(escape(said), soft_wrap=True)
    if erasure.files:
        console.print(
            "The report and the list of files are gone, because they sum the rows up: run the "
            "job's own command again, which makes them anew. Older versions of the objects stay in "
            "a bucket with versions: delete them there. Jobs made from this one, as by rescore or "
            "retry, and events in Kafka have rows of their own.",
            soft_wrap=True,
        )
