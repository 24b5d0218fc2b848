"""Keeps a second driver away from a job, while the store can tell."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from datetime import UTC, datetime

from pipeline.backfill import layout
from pipeline.backfill.control import LEASE_S, RENEW_S, Lease
from pipeline.errors import Halt, PipelineError, Retry
from pipeline.ports import Clock, Folder, StoredFile

log = logging.getLogger(__name__)

LAST_S = LEASE_S - 10.0
"""A driver that has not renewed its lease for this long ends, before another may begin."""

RETRY_S = 5.0
"""Time between a renewal that failed and the next."""

TAKING_S = 1.0
"""Time between two tries to take a lease that the store contradicts itself about."""

_TRIES = 10


class HeldLease:
    """This driver's right to run the job. Belongs to one thread. A store that does not answer holds
    up a thread of the lease's own, and not the driver."""

    def __init__(
        self,
        folder: Folder,
        clock: Clock,
        etag: str,
        driver: str,
        taken_at: float,
        executor: Executor | None = None,
    ) -> None:
        """``taken_at`` is when taking it was begun, on the ``clock``. ``executor`` runs one renewal
        at a time."""
        self._folder = folder
        self._clock = clock
        self._etag = etag
        self._driver = driver
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="lease")
        # When the latest renewal that succeeded was begun. Other drivers count from a later moment.
        self._renewed_at = self._tried_at = taken_at
        self._renewals = 0
        self._renewal: Future[None] | None = None
        self._failure: Retry | None = None

    def renew_when_due(self) -> None:
        """Begin a renewal if it is time for one, and look at how the last one ended. A renewal that
        fails is tried again.

        Raises:
            Halt: ``backfill.lease_lost``: another driver has taken the job over, or may soon,
                because the store has refused all renewals for too long.
        """
        self._collect()
        now = self._clock.monotonic()
        if now - self._renewed_at >= LAST_S:
            self._last_chance()
        elif self._renewal is None and now - self._tried_at >= self._pause_s:
            self._begin()
            self._collect()

    def give_back(self) -> None:
        """Let the next driver begin at once. Failures are logged: whoever ends a job has other
        troubles, and the lease expires anyway."""
        try:
            if self._renewal is not None:
                wait_for([self._renewal], RETRY_S)
                self._collect()
            if self._renewal is None:
                self._write(ended=True)
        except PipelineError as failure:
            log.warning("the lease was not given back, and expires in %.0f s: %s", LEASE_S, failure)
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)

    # -- inside -----------------------------------------------------------------------------

    @property
    def _pause_s(self) -> float:
        return RENEW_S if self._failure is None else RETRY_S

    def _begin(self) -> Future[None]:
        self._tried_at = self._clock.monotonic()
        self._renewal = self._executor.submit(self._write, ended=False)
        return self._renewal

    def _collect(self) -> None:
        if self._renewal is None or not self._renewal.done():
            return
        renewal, self._renewal = self._renewal, None
        try:
            renewal.result()
        except Retry as failure:
            if self._failure is None:
                log.warning("the lease was not renewed, which is tried again: %s", failure)
            self._failure = failure
        else:
            self._renewed_at, self._failure = self._tried_at, None

    def _last_chance(self) -> None:
        """The lease is about to expire. A driver that was stopped in between, with its process or
        its machine, still has it if nobody else has taken it."""
        if self._renewal is None and self._failure is None:
            wait_for([self._begin()], RETRY_S)
            self._collect()
            if self._renewed_at == self._tried_at:
                return
        raise Halt(
            "backfill.lease_lost",
            f"backfill: {layout.LEASE} could not be renewed for {LAST_S:.0f} s "
            f"({self._failure or 'the store does not answer'}), so another driver may begin; look "
            "at the output's store, then run the command again",
        )

    def _write(self, *, ended: bool) -> None:
        """Runs in the executor, but for the last time."""
        self._renewals += 1
        lease = _lease(self._driver, self._clock, self._renewals, ended=ended)
        body = lease.as_bytes()
        etag = self._folder.replace(layout.LEASE, body, self._etag)
        if etag is None:
            found = self._folder.read(layout.LEASE)
            if found is None or not _is(found, self._driver):
                raise Halt(
                    "backfill.lease_lost",
                    "backfill: another driver runs the job by now; let it finish, or stop it",
                )
            # The object is ours all the same: its answer was lost, or the store was undecided.
            self._etag = found.etag
            if found.body != body:
                raise Retry("output.undecided", f"{layout.LEASE}: the store did not replace it")
            return
        self._etag = etag


def take_lease(
    folder: Folder,
    clock: Clock,
    wait: Callable[[float], bool],
    *,
    force: bool = False,
    executor: Executor | None = None,
) -> HeldLease | None:
    """The right to run the job. Waits until a lease that somebody has is no longer renewed, because
    that driver may have crashed. Whether it still is shows in the object's ETag, not in its times:
    clocks of two machines may differ. None if ``wait`` says that this driver was asked to stop.
    ``force`` takes it from whoever has it. ``executor`` is for the renewals.

    Raises:
        Halt: ``backfill.second_driver``: another driver runs the job.
        StoreDenied, Retry: the store failed, or keeps contradicting itself.
    """
    driver = uuid.uuid4().hex
    body = _lease(driver, clock, 0, ended=False).as_bytes()
    for _ in range(_TRIES):
        begun_at = clock.monotonic()
        folder.create(layout.LEASE, body)
        found = folder.read(layout.LEASE)
        if found is not None and not _is(found, driver):
            if not (force or Lease.of_bytes(found.body, layout.LEASE).ended):
                if not _expires(folder, found, wait):
                    return None
                begun_at = clock.monotonic()
            # With the ETag that was seen first: of two drivers that waited, one takes it.
            folder.replace(layout.LEASE, body, found.etag)
            found = folder.read(layout.LEASE)
        if found is not None and _is(found, driver):
            return HeldLease(folder, clock, found.etag, driver, begun_at, executor)
        if wait(TAKING_S):
            return None
    raise Retry("output.undecided", f"{layout.LEASE}: the store does not say whose it is")


def _expires(folder: Folder, found: StoredFile, wait: Callable[[float], bool]) -> bool:
    """Whether a lease has expired; False if this driver was asked to stop meanwhile.

    Raises:
        Halt: ``backfill.second_driver``: it is still renewed.
    """
    host = Lease.of_bytes(found.body, layout.LEASE).host
    log.info("waiting %.0f s for the lease of a driver on %s to expire", LEASE_S, host)
    if wait(LEASE_S):
        return False
    later = folder.read(layout.LEASE)
    if later is not None and later.etag != found.etag:
        lease = Lease.of_bytes(later.body, layout.LEASE)
        if not lease.ended:
            raise Halt(
                "backfill.second_driver",
                f"backfill: a driver on {lease.host} runs this job; stop it, or let it finish",
            )
    return True


def _is(found: StoredFile, driver: str) -> bool:
    return Lease.of_bytes(found.body, layout.LEASE).driver == driver


def _lease(driver: str, clock: Clock, renewals: int, *, ended: bool) -> Lease:
    at = datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="seconds")
    return Lease(
        driver=driver,
        host=socket.gethostname(),
        renewed_at=at,
        renewals=renewals,
        ended=ended,
    )
