"""Keeps a second driver away from a job, while the store can tell."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from pipeline.backfill import layout
from pipeline.backfill.control import RENEWALS, Lease
from pipeline.errors import Halt
from pipeline.ports import Clock, Folder

log = logging.getLogger(__name__)


class HeldLease:
    """This driver's right to run the job. Belongs to one thread."""

    def __init__(
        self, folder: Folder, clock: Clock, etag: str, driver: str, renew_s: float
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._etag = etag
        self._driver = driver
        self._renew_s = renew_s
        self._renewed_at = clock.monotonic()

    def renew_when_due(self) -> None:
        """
        Raises:
            Halt: ``backfill.lease_lost``: another driver has taken the job over.
            StoreDenied, Retry: the store failed.
        """
        now = self._clock.monotonic()
        if now - self._renewed_at >= self._renew_s:
            self._write(ended=False)
            self._renewed_at = now

    def give_back(self) -> None:
        """Let the next driver begin at once."""
        self._write(ended=True)

    def _write(self, *, ended: bool) -> None:
        body = _lease(self._driver, self._clock, ended=ended).as_bytes()
        etag = self._folder.replace(layout.LEASE, body, self._etag)
        if etag is None:
            found = self._folder.read(layout.LEASE)
            if found is None or Lease.of_bytes(found.body, layout.LEASE).driver != self._driver:
                raise Halt(
                    "backfill.lease_lost",
                    "backfill: another driver runs the job by now; let it finish, or stop it",
                )
            etag = found.etag
        self._etag = etag


def take_lease(
    folder: Folder,
    clock: Clock,
    wait: Callable[[float], bool],
    lease_s: float = 60.0,
    *,
    force: bool = False,
) -> HeldLease | None:
    """The right to run the job. Waits until a lease that somebody has is no longer renewed, because
    that driver may have crashed. None if ``wait`` says that this driver was asked to stop.

    Raises:
        Halt: ``backfill.second_driver``: another driver runs the job.
        StoreDenied, Retry: the store failed.
    """
    driver = uuid.uuid4().hex
    body = _lease(driver, clock, ended=False).as_bytes()
    while True:
        if folder.create(layout.LEASE, body):
            found = folder.read(layout.LEASE)
        else:
            found = folder.read(layout.LEASE)
            if found is not None and not _is(found.body, driver):
                seen, lease = found.etag, Lease.of_bytes(found.body, layout.LEASE)
                if not (lease.ended or force):
                    log.info("waiting for the lease of a driver on %s to expire", lease.host)
                    if wait(lease_s):
                        return None
                    found = folder.read(layout.LEASE)
                    if found is not None and found.etag != seen:
                        raise Halt(
                            "backfill.second_driver",
                            f"backfill: a driver on {lease.host} runs this job; stop it, or let "
                            "it finish",
                        )
                etag = folder.replace(layout.LEASE, body, seen)
                if etag is None:
                    continue
                return HeldLease(folder, clock, etag, driver, lease_s / RENEWALS)
        if found is not None and _is(found.body, driver):
            return HeldLease(folder, clock, found.etag, driver, lease_s / RENEWALS)


def _is(body: bytes, driver: str) -> bool:
    return Lease.of_bytes(body, layout.LEASE).driver == driver


def _lease(driver: str, clock: Clock, *, ended: bool) -> Lease:
    at = datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds")
    return Lease(driver=driver, host=socket.gethostname(), renewed_at=at, ended=ended)
