"""`clipstream backfill pause|resume|cancel|scale`: what a person asks of a running job, through the
store. They work from anywhere that can write to the output."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from pipeline.adapters.clock import SystemClock
from pipeline.backfill import layout
from pipeline.backfill.control import Control, Wish, change_control
from pipeline.backfill.job import require_job
from pipeline.ports import Clock, Folder
from workers.backfill.output import Output, open_output
from workers.commands.backfill.standing import driver_of
from workers.settings.loading import Settings


def ask(settings: Settings, output: str, change: Callable[[Control], Control]) -> str:
    """Change what is asked of a job. Returns what to tell the person.

    Raises:
        Halt: ``backfill.no_job``, ``backfill.unreadable``.
        StoreDenied, Retry: the store failed.
    """
    place = Output.of(output)
    with contextlib.closing(open_output(settings, place)) as folder:
        return ask_in(folder, str(place), change, SystemClock())


def ask_in(folder: Folder, output: str, change: Callable[[Control], Control], clock: Clock) -> str:
    require_job(folder, output)
    control = change_control(folder, change)
    told = f"{output}: {_asked(control)}"
    if folder.read(layout.SUCCESS) is not None:
        return f"{told}; but the job is complete"
    driver = driver_of(folder, clock)
    if driver is not None and driver.alive:
        return f"{told}; its driver on {driver.host} follows within seconds"
    if control.wish is Wish.RUN:
        return (
            f"{told}; but no driver runs: give the command `clipstream backfill run` again, with "
            f"--output {output}"
        )
    return f"{told}; no driver runs"


def paused(control: Control) -> Control:
    return control.model_copy(update={"wish": Wish.PAUSE, "reason": "", "by_limit": False})


def cancelled(control: Control) -> Control:
    return control.model_copy(update={"wish": Wish.CANCEL, "reason": "", "by_limit": False})


def resumed(control: Control) -> Control:
    return control.model_copy(update={"wish": Wish.RUN, "reason": "", "by_limit": False})


def scaled(
    workers: int | None, objects_per_s: float | None, bytes_per_s: float | None
) -> Callable[[Control], Control]:
    """None leaves a value as it is, and 0 leaves it to the driver's settings from now on."""
    given = {"max_workers": workers, "objects_per_s": objects_per_s, "bytes_per_s": bytes_per_s}
    update = {name: value or None for name, value in given.items() if value is not None}
    return lambda control: control.model_copy(update=update)


def _asked(control: Control) -> str:
    asked = [f"is asked to {control.wish}"]
    for value, unit in (
        (control.max_workers, "workers"),
        (control.objects_per_s, "objects/s"),
        (control.bytes_per_s, "bytes/s"),
    ):
        if value is not None:
            asked.append(f"at most {value:,.10g} {unit}")
    return ", ".join(asked)
