"""Whether a job may begin, and the pause that a limit makes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pipeline.backfill import layout
from pipeline.backfill.control import Control, Wish, change_control, read_control
from pipeline.backfill.job import Job
from pipeline.backfill.running.limits import Limits, Used
from pipeline.backfill.running.progress import Progress
from pipeline.errors import Halt
from pipeline.ports import Folder

log = logging.getLogger(__name__)

POLL_S = 3.0


def may_begin(
    folder: Folder,
    limits: Limits,
    used: Used,
    renew: Callable[[], object],
    wait: Callable[[float], bool],
) -> bool:
    """Wait while a person has paused the job. False if it is cancelled, or a limit is reached, or
    ``wait`` says that this driver was asked to stop. ``renew`` keeps the lease meanwhile. No worker
    runs, and no cluster is joined yet.

    Raises:
        Halt: ``backfill.unreadable``, or what ``renew`` raises.
        StoreDenied, Retry: the store failed.
    """
    told = False
    while True:
        control = read_control(folder)
        if (why := limits.reached(used)) is not None:
            pause_by_limit(folder, why)
            log.warning("%s; run the job with a higher limit to go on", why)
            return False
        if control.by_limit:
            change_control(folder, _lifted)
            continue
        if control.wish is Wish.CANCEL:
            log.warning("the job is cancelled; `clipstream backfill resume` lets it go on")
            return False
        if control.wish is Wish.RUN:
            return True
        if not told:
            log.warning("the job is paused; `clipstream backfill resume` lets it go on")
            told = True
        renew()
        if wait(POLL_S):
            return False


def pause_by_limit(folder: Folder, why: str) -> None:
    """Say in ``control.json`` that a limit has paused the job, unless a person has cancelled it.

    Raises:
        StoreDenied, Retry: the store failed.
    """

    def pause(control: Control) -> Control:
        if control.wish is Wish.CANCEL:
            return control
        return control.model_copy(update={"wish": Wish.PAUSE, "reason": why, "by_limit": True})

    change_control(folder, pause)


def used_before(folder: Folder, job: Job) -> Used:
    """What earlier drivers of the job have used, as ``progress.json`` says. Nothing if the object
    is not readable: it is a note for people, and no reason to stop."""
    found = folder.read(layout.PROGRESS)
    if found is None:
        return Used()
    try:
        progress = Progress.of_bytes(found.body, layout.PROGRESS)
    except Halt as halt:
        log.warning("%s; hours and cost count from here", halt)
        return Used()
    return progress.used if progress.job == job.id else Used()


def _lifted(control: Control) -> Control:
    if not control.by_limit:
        return control
    return control.model_copy(update={"wish": Wish.RUN, "reason": "", "by_limit": False})
