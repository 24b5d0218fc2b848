"""`clipstream stream`: run stream workers until stopped."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Halt, Retry
from pipeline.metrics import DRIVER_METRICS
from pipeline.retry import wait_s
from workers.backoff import BROKER
from workers.cluster.actors import Cluster
from workers.cluster.reservation import Reservation
from workers.cluster.start import patiently
from workers.commands.signals import signals
from workers.endpoints.discovery import update_discovery
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.fleet import Place
from workers.kubernetes.stateful_set import was_scaled_in
from workers.label_sets import load_routes
from workers.settings.loading import Settings
from workers.stream.wiring import build_stream_worker, endpoint_of, member_of
from workers.supervise.certificates import Certificates
from workers.supervise.standing import DriverGauges
from workers.supervise.supervisor import ExitCode, Supervisor

log = logging.getLogger(__name__)

HEALTHY_S = 30.0
"""The supervisor's loop turns five times a second. If the last turn is older than this, the loop is
stuck."""

PROGRESS_S = 10.0
"""Seconds between two progress lines in the log."""


def run_stream(settings: Settings, until_idle_s: float | None) -> ExitCode:
    """Run the workers of ``settings.workers`` in the Ray cluster until a signal, a halt, or
    ``until_idle_s`` without anything to do.

    Raises:
        Halt: this driver cannot start. Missing stores, wrong label sets and wrong routes are found
            before anything is contacted.
        Retry: the driver's own Ray did not start.
    """
    check_stream(settings)
    rng = random.Random()  # noqa: S311 - jitter, no secret
    stopping = threading.Event()
    with signals(stopping), stream_group(settings, stopping, rng) as group:
        if stopping.is_set():
            return ExitCode.OK
        joined = patiently(partial(Cluster, settings), stopping.wait, SystemClock(), rng)
        if joined is None:
            return ExitCode.OK
        with contextlib.closing(joined) as cluster:
            _tell_reservation(cluster.reservation, settings)
            supervisor = supervisor_on(cluster, settings, group, rng)
            code = _supervise(settings, supervisor, stopping, until_idle_s)
        if until_idle_s is not None and code is ExitCode.OK:
            # The job is done, and no worker takes the members' place.
            _leave_for_good(settings, range(settings.workers.most))
        log.info("stopped: %d references committed", supervisor.committed)
        return code


def check_stream(settings: Settings) -> None:
    """What is checked before anything is contacted.

    Raises:
        Halt: stores are missing, or label sets or routes are wrong.
    """
    settings.require_stores()
    load_routes(settings)


@contextlib.contextmanager
def stream_group(
    settings: Settings, stopping: threading.Event, rng: random.Random
) -> Iterator[ThreadPoolExecutor]:
    """The right to drive the group's workers on this host, once the group has offsets. Threads for
    what the driver asks the group. Waits for a broker that does not answer yet, until
    ``stopping``. At an orderly end the members leave the group if the driver's pod was scaled in.

    Raises:
        Halt: another driver runs, or a person must act.
    """
    with _only_driver(settings), ThreadPoolExecutor(2, "group") as group:
        _initialise_group(settings, stopping, rng)
        yield group
        # Asked now and not when the signal came: a pod that is wanted again by now comes back.
        if was_scaled_in(settings.kubernetes):
            _leave_for_good(settings, range(settings.workers.most))


def supervisor_on(
    cluster: Cluster, settings: Settings, group: ThreadPoolExecutor, rng: random.Random
) -> Supervisor:
    """The supervisor of the stream's workers on a cluster."""
    return Supervisor(
        partial(cluster.launch, build_stream_worker),
        settings.workers,
        SystemClock(),
        rng,
        time.sleep,
        dismiss=lambda slot, *, for_good: group.submit(_dismiss, settings, slot, for_good=for_good),
        group_lag=partial(group.submit, _group_lag, settings),
    )


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


def _supervise(
    settings: Settings,
    supervisor: Supervisor,
    stopping: threading.Event,
    until_idle_s: float | None,
) -> ExitCode:
    """Run the supervisor, and answer probes and scrapes meanwhile."""
    meter = PrometheusMeter(DRIVER_METRICS)
    watch = StreamWatch(stopping, DriverGauges(meter))
    endpoint = HealthEndpoint(
        settings.endpoints,
        healthy=lambda: watch.healthy,
        standing=lambda: supervisor.standing,
        registry=meter.registry,
        places=lambda: stream_places(settings, supervisor),
    )
    certificates = Certificates(settings, meter)
    with contextlib.closing(endpoint), contextlib.closing(certificates):
        log.info("health and the driver's metrics on port %d", endpoint.port)
        return supervisor.run(until_idle_s, watch.tick)


def stream_places(settings: Settings, supervisor: Supervisor) -> list[Place]:
    """The places for workers at the supervisor's last look. Any thread may ask."""
    return [
        Place(endpoint_of(member_of(settings, slot)), address)
        for slot, address in supervisor.standing.metrics_at.items()
    ]


class StreamWatch:
    """The driver's own work at every look at its workers."""

    def __init__(self, stopping: threading.Event, gauges: DriverGauges) -> None:
        self._stopping = stopping
        self._gauges = gauges
        self.ticked_at = time.monotonic()
        self._told_at = self.ticked_at
        self._told = 0

    @property
    def healthy(self) -> bool:
        """Whether the supervisor's loop turns."""
        return time.monotonic() - self.ticked_at < HEALTHY_S

    def tick(self, supervisor: Supervisor) -> None:
        now = time.monotonic()
        self.ticked_at = now
        if self._stopping.is_set():
            supervisor.request_stop()
        self._gauges.follow(supervisor.standing)
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
def _only_driver(settings: Settings) -> Iterator[None]:
    """Allow one driver on a host for each instance name, group and set of brokers. Two drivers
    would fence each other's workers.

    Raises:
        Halt: another driver runs.
    """
    member = member_of(settings, 0)
    directory = Path(tempfile.gettempdir()) / f"clipstream-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    # A digest, because names may be long, and two different pairs of names must not look alike.
    names = [*sorted(settings.kafka.bootstrap_servers), member.group, member.instance]
    path = directory / f"{hashlib.sha256(json.dumps(names).encode()).hexdigest()}.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Halt(
                "stream.second_driver",
                f"stream: a driver of group {member.group} and instance {member.instance} already "
                "runs on this host; give this one another name (kafka.instance)",
            ) from error
        yield


def _initialise_group(settings: Settings, stopping: threading.Event, rng: random.Random) -> None:
    """Commit the group's first offsets. Waits for a broker that does not answer yet."""
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


def _dismiss(settings: Settings, slot: int, *, for_good: bool) -> None:
    """Remove the member of a place without a worker, so that its partitions move. If no worker will
    follow, also remove the endpoint from this host's discovery file. The endpoint of a worker on
    another host stays in that host's file."""
    if for_good and settings.endpoints.discovery_file is not None:
        try:
            update_discovery(
                Path(settings.endpoints.discovery_file),
                endpoint_of(member_of(settings, slot)),
                None,
            )
        except Halt as halt:
            log.warning("%s", halt)
    _leave_for_good(settings, [slot])


def _group_lag(settings: Settings) -> int | None:
    """Records of all partitions that the group has not committed; None if the broker does not
    say."""
    try:
        with KafkaAdmin(settings.kafka) as admin:
            return admin.lag()
    except (Halt, Retry) as failure:
        log.warning("%s: it is not known whether the group has records left", failure)
        return None


def _leave_for_good(settings: Settings, slots: Iterable[int]) -> None:
    """Remove the members of slots from the group, so that their partitions move at once."""
    members = [member_of(settings, slot).group_instance_id for slot in slots]
    try:
        with KafkaAdmin(settings.kafka) as admin:
            admin.remove_members(members)
    except (Halt, Retry) as failure:
        log.warning("%s: the members stay in the group until their session ends", failure)
