"""What a person asks of a running job, and which driver runs it: ``control.json``,
``driver.json``."""

from __future__ import annotations

from enum import StrEnum

from pipeline.backfill.job import Written

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
    max_workers: int | None = None
    objects_per_s: float | None = None
    bytes_per_s: float | None = None


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
