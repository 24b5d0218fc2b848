"""What a person asks of a running job, and which driver runs it: ``control.json``,
``driver.json``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pipeline.backfill import layout
from pipeline.backfill.job import Written
from pipeline.errors import Retry
from pipeline.ports import Folder

LEASE_S = 60.0
"""A driver that has not renewed its lease for this long has lost the job to the next one."""

RENEW_S = 15.0


class Wish(StrEnum):
    RUN = "run"
    PAUSE = "pause"
    """Workers return their shards and end; the driver waits."""
    CANCEL = "cancel"
    """Workers return their shards; the driver ends. What is committed stays."""


class Control(Written):
    """Polled by the driver. None leaves a value to the driver's settings."""

    wish: Wish = Wish.RUN
    reason: str = ""
    """Why the job is paused, for people."""
    by_limit: bool = False
    """The driver paused the job, because a limit was reached, and has ended."""
    max_workers: Annotated[int | None, Field(gt=0)] = None
    objects_per_s: Annotated[float | None, Field(gt=0)] = None
    bytes_per_s: Annotated[float | None, Field(gt=0)] = None


_TRIES = 10


def read_control(folder: Folder) -> Control:
    """What a person asks of the job: to run, if nobody has asked for anything yet.

    Raises:
        Halt: ``backfill.unreadable``.
        StoreDenied, Retry: the store failed.
    """
    found = folder.read(layout.CONTROL)
    return Control() if found is None else Control.of_bytes(found.body, layout.CONTROL)


def change_control(folder: Folder, change: Callable[[Control], Control]) -> Control:
    """Change what is asked, while others may do so too: nobody's change is lost.

    Raises:
        Halt: ``backfill.unreadable``.
        StoreDenied, Retry: the store failed, or others changed the object each time.
    """
    for _ in range(_TRIES):
        found = folder.read(layout.CONTROL)
        before = Control() if found is None else Control.of_bytes(found.body, layout.CONTROL)
        after = change(before)
        if found is None:
            if folder.create(layout.CONTROL, after.as_bytes()):
                return after
        elif after == before or folder.replace(layout.CONTROL, after.as_bytes(), found.etag):
            return after
    raise Retry("backfill.undecided", f"{layout.CONTROL}: others change it all the time")


class Lease(Written):
    """Which driver runs the job. ``renewed_at`` is the driver's own clock, for people: others judge
    by whether the object still changes, so that clocks need not agree."""

    driver: str
    host: str
    renewed_at: str
    renewals: int = 0
    """Makes each renewal another object."""
    ended: bool = False
    """The driver has ended, so that the next one need not wait."""
