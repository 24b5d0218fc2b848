"""`clipstream stream`: run stream workers until stopped."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.errors import Halt, Retry
from pipeline.retry import wait_s
from workers.backoff import BROKER
from workers.cluster import Cluster
from workers.endpoints import HealthEndpoint, update_discovery
from workers.reservation import Reservation
from workers.settings import Settings
from workers.supervise import ExitCode, Supervisor
from workers.wiring import build_stream_worker, load_routes, member_of

log = logging.getLogger(__name__)

HEALTHY_S = 30.0
"""The supervisor's loop turns five times a second; this old means that it is stuck."""

PROGRESS_S = 10.0
"""Time between two lines of progress in the log."""


def run_stream(settings: Settings, until_idle_s: float | None) -> ExitCode:
    """Run the workers that ``settings.workers`` asks for in the Ray cluster until a signal, an
    error that a person must mend, or ``until_idle_s`` without anything to do.

    Raises:
        Halt: this driver cannot start; wrong label sets and routes before anything is contacted.
    """
    load_routes(settings)
    rng = random.Random()  # noqa: S311 - jitter, no secret
    stopping = threading.Event()
    with _signals(stopping), _only_driver(settings), ThreadPoolExecutor(1, "leaving") as leaving:
        _initialise_group(settings, stopping, rng)
        if stopping.is_set():
            return ExitCode.OK
        cluster = Cluster(settings)
        _tell_reservation(cluster.reservation, settings)
        supervisor = Supervisor(
            lambda slot: cluster.launch(build_stream_worker, slot),
            settings.workers,
            SystemClock(),
            rng,
            time.sleep,
            dismiss=lambda slot: leaving.submit(_dismiss, settings, slot),
        )
        watch = _Watch(stopping)
        health = HealthEndpoint(
            settings.endpoints,
            healthy=lambda: time.monotonic() - watch.ticked_at < HEALTHY_S,
            ready=lambda: supervisor.ready,
        )
        log.info("health on port %d", health.port)
        try:
            code = supervisor.run(until_idle_s, watch.tick)
        finally:
            health.close()
            cluster.close()
        if until_idle_s is not None and code is ExitCode.OK:
            # The job is done and nobody takes the members' place.
            _leave_for_good(settings, range(settings.workers.most))
        log.info("stopped: %d references committed", supervisor.committed)
        return code


def _tell_reservation(reservation: Reservation, settings: Settings) -> None:
    policy = settings.workers
    log.info(
        "%d workers%s, each on %s",
        policy.count,
        f", {policy.most} at most" if policy.most > policy.count else "",
        reservation,
    )
    if reservation.warning:
        log.warning("%s", reservation.warning)


class _Watch:
    """What the driver does at every look at its workers."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self.ticked_at = time.monotonic()
        self._told_at = self.ticked_at
        self._told = 0

    def tick(self, supervisor: Supervisor) -> None:
        now = time.monotonic()
        self.ticked_at = now
        if self._stopping.is_set():
            supervisor.request_stop()
        if now - self._told_at >= PROGRESS_S:
            rate = (supervisor.committed - self._told) / (now - self._told_at)
            lag = "unknown" if supervisor.lag is None else str(supervisor.lag)
            log.info(
                "%d references committed, %.1f/s, lag %s, %d workers",
                supervisor.committed,
                rate,
                lag,
                supervisor.workers,
            )
            self._told_at, self._told = now, supervisor.committed


@contextlib.contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM ask for a drain; a second SIGINT ends at once."""

    def drain(number: int, _: object) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _only_driver(settings: Settings) -> Iterator[None]:
    """One driver of an instance name a host: two would fence each other's workers.

    Raises:
        Halt: another one runs.
    """
    member = member_of(settings, 0)
    directory = Path(tempfile.gettempdir()) / f"clipstream-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{member.group}-{member.instance}.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Halt(
                "stream.second_driver",
                f"stream: a driver of group {member.group} and instance {member.instance} runs on "
                "this host already; give this one another name (kafka.instance)",
            ) from error
        yield


def _initialise_group(settings: Settings, stopping: threading.Event, rng: random.Random) -> None:
    """Commit the group's first offsets, waiting for a broker that does not answer yet."""
    failures = 0
    while not stopping.is_set():
        try:
            with KafkaAdmin(settings.kafka) as admin:
                admin.initialise_group(admin.facts(), settings.delivery.start)
        except Retry as failure:
            failures += 1
            seconds = wait_s(failures, BROKER, rng.random)
            log.warning("%s; trying again in %.1f s", failure, seconds)
            stopping.wait(seconds)
        else:
            return


def _dismiss(settings: Settings, slot: int) -> None:
    """After a worker was removed: its partitions move, and nobody misses its endpoint, which stays
    listed where the worker ran on another host."""
    if settings.endpoints.discovery_file is not None:
        try:
            update_discovery(Path(settings.endpoints.discovery_file), slot, None)
        except Halt as halt:
            log.warning("%s", halt)
    _leave_for_good(settings, [slot])


def _leave_for_good(settings: Settings, slots: Iterable[int]) -> None:
    """Remove the members of slots from the group, so that their partitions move at once."""
    members = [member_of(settings, slot).group_instance_id for slot in slots]
    try:
        with KafkaAdmin(settings.kafka) as admin:
            admin.remove_members(members)
    except (Halt, Retry) as failure:
        log.warning("%s: the members stay in the group until their session ends", failure)
