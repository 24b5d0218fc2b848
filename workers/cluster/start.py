"""Ray itself: joins the cluster that RAY_ADDRESS names, or starts a Ray of the driver's own."""

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
"""Seconds within which the cluster's head must accept a connection. Ray itself would wait up to 20
minutes for an address where nothing listens."""

PATIENCE_S = 180.0
"""Seconds from the first failure on during which the driver tries again. A head may be starting, or
a machine may be under load."""

WAITS = RetryPolicy(first_wait_s=2.0, longest_wait_s=20.0)
"""Waits between attempts to join or start Ray."""

CODE = "ray.not_started"

OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Nearly Ray's minimum. Workers hand no images through the object store."""

_LOGS = (
    "look at ray/session_latest/logs in the directory for temporary files, and check whether the "
    "machine has free memory and processors"
)

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Always set, because Ray warns at every start about its changing default.
    "RAY_AUTH_MODE": "disabled",
    # Off, because the hook starts another interpreter for every worker when the driver runs under
    # uv.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    # Workers name themselves in each line, and JSON lines must stay JSON.
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
}


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names; None if the driver starts a Ray of its own."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def start_ray(num_cpus: int) -> None:
    """Join the named cluster, or start a Ray of our own with ``num_cpus`` logical CPUs.

    One attempt, of up to a minute. A failed attempt leaves nothing behind.

    Raises:
        Retry: ``ray.not_started``: nothing answers there, or Ray's daemons were too slow.
        Halt: ``ray.not_started``: the request cannot be met.
    """
    # Ray reads these when it is imported. The user's own values stay.
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    address = cluster_address()
    options: dict[str, Any] = {"log_to_driver": True, "logging_level": logging.WARNING}
    if address is None:
        options |= {
            # Explicit, because Ray would otherwise join any cluster that an address file on this
            # host names: somebody else's, or one of a run that crashed.
            "address": "local",
            "num_cpus": num_cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    # Ray installs its own SIGTERM handler, which ends the driver without a drain.
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            _knock(address)
        ray.init(**options)
    except Exception as error:
        # Ray raises bare exceptions here, even a plain Exception if its daemons were too slow.
        ray.shutdown()
        end_daemons(error)
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
    """The result of ``start``, which is tried again while it fails temporarily. None if ``wait``
    says that the driver was asked to stop.

    Raises:
        Halt: ``ray.not_started``: it cannot be done, or nothing answers at RAY_ADDRESS for long.
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
                    f"{failure.message}; tried {failures} times: write the address of "
                    "the cluster's head into RAY_ADDRESS, or unset it for a Ray of its own",
                ) from failure
            seconds = wait_s(failures, WAITS, rng.random)
            log.warning("%s; trying again in %.1f s", failure, seconds)
        if wait(seconds):
            return None


def _knock(address: str) -> None:
    """Check whether anything listens.

    Raises:
        OSError: nothing does.
        ValueError: this is not an address.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if "://" in address:
        return
    # For `auto`, Ray's function gives the address file's address, or that of the one Ray that runs
    # here.
    host, _, port = (canonicalize_bootstrap_address(address) or "").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers at {host}:{port} ({error})") from error


def end_daemons(error: Exception) -> None:
    """End the processes of a node that did not start. Ray drops the node with its processes
    running; only the frames of the error still refer to it."""
    from ray._private.node import Node

    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            return
