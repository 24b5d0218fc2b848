"""Ray itself: the cluster that RAY_ADDRESS names is joined, else a Ray of the driver's own is
started."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.errors import Halt, Retry
from pipeline.ports import Clock
from pipeline.retry import RetryPolicy, wait_s

log = logging.getLogger(__name__)

Started = TypeVar("Started")

PROBE_S = 5.0
"""Time in which the cluster's head must take a connection. Ray itself asks an address where nobody
listens for up to 20 minutes."""

PATIENCE_S = 180.0
"""Time from the first failure on in which the driver tries again: a head that is being started, or
a machine under load."""

WAITS = RetryPolicy(first_wait_s=2.0, longest_wait_s=20.0)
"""Waits between attempts to join or start Ray."""

CODE = "ray.not_started"

OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Nearly Ray's minimum: workers hand no images through the object store."""

_LOGS = (
    "look into ray/session_latest/logs in the directory for temporary files, and whether the "
    "machine has memory and processors to spare"
)

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Set in any case: Ray warns at every start about its changing default.
    "RAY_AUTH_MODE": "disabled",
    # Off: the hook starts another interpreter for every worker where the driver runs under uv.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    # Workers say in each line who they are, and JSON lines must stay JSON.
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
}


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names; None where the driver starts a Ray of its own."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def start_ray(num_cpus: int) -> None:
    """Join the named cluster, or start a Ray of our own with ``num_cpus`` logical CPUs.

    One attempt, of up to a minute. It leaves nothing behind where it fails.

    Raises:
        Retry: ``ray.not_started``: nobody answers there, or Ray's daemons were too slow.
        Halt: ``ray.not_started``: it cannot be done as it is asked for.
    """
    # Ray reads these when it is imported. What the user set stays.
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    address = cluster_address()
    options: dict[str, Any] = {"log_to_driver": True, "logging_level": logging.WARNING}
    if address is None:
        options |= {
            # Said in so many words: else Ray joins whatever cluster an address file on this host
            # names, of somebody else or of a run that crashed.
            "address": "local",
            "num_cpus": num_cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    # Ray puts a SIGTERM handler of its own in place, which ends the driver without a drain.
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            _knock(address)
        ray.init(**options)
    except Exception as error:
        # Ray raises bare exceptions here, a plain one where its daemons were too slow.
        ray.shutdown()
        _end_daemons(error)
        fate = Halt if isinstance(error, (ValueError, PermissionError)) else Retry
        message = str(error).strip() or type(error).__name__
        if address is None:
            raise fate(CODE, f"ray: {message} (RAY_ADDRESS is not set); {_LOGS}") from error
        raise fate(CODE, f"ray: {message} (RAY_ADDRESS is {address})") from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)


def patiently(
    start: Callable[[], Started],
    wait: Callable[[float], bool],
    clock: Clock,
    rng: random.Random,
) -> Started | None:
    """``start``, tried again while it fails in passing; None where ``wait`` says that the driver
    was asked to stop.

    Raises:
        Halt: ``ray.not_started``: it cannot be done, or nobody answers at RAY_ADDRESS for long.
        Retry: ``ray.not_started``: a Ray of our own did not start for long.
    """
    failures, give_up_at = 0, 0.0
    while True:
        try:
            return start()
        except Retry as failure:
            failures += 1
            now = clock.monotonic()
            if failures == 1:
                give_up_at = now + PATIENCE_S
            if now >= give_up_at:
                if cluster_address() is None:
                    raise
                raise Halt(
                    failure.code,
                    f"{failure.message}; tried {failures} times: write the address of the "
                    "cluster's head, or unset it to start a Ray of the driver's own",
                ) from failure
            seconds = wait_s(failures, WAITS, rng.random)
            log.warning("%s; trying again in %.1f s", failure, seconds)
        if wait(seconds):
            return None


def _knock(address: str) -> None:
    """See whether anybody listens.

    Raises:
        OSError: nobody does.
        ValueError: it is no address.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if "://" in address:
        return
    # What it makes of `auto` is the address file's, or that of the one Ray that runs here.
    host, _, port = (canonicalize_bootstrap_address(address) or "").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers at {host}:{port} ({error})") from error


def _end_daemons(error: Exception) -> None:
    """End what was started of a node that did not come up. Ray drops it with its processes running;
    the frames that raised hold the only way to them."""
    from ray._private.node import Node

    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            return
