"""HAProxy with the file that Ray Serve writes for it, and with our values for its connections."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.waiting import eventually
from workers.cluster.serving.environment import uses_haproxy, variables
from workers.embedded.processes import free_ports
from workers.settings.serve import ServePolicy

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(
        not uses_haproxy(ServePolicy()),
        reason="HAProxy's package exists for Linux on x86-64 alone; install ray[serve] there",
    ),
    # Ray Serve's own models use a part of pydantic that pydantic calls deprecated.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

RAYS_CONNECTIONS = 4096
"""Connections that HAProxy takes at a time by Ray Serve's default."""
FILES_FOR_MORE = 12_000
FEW_FILES = 4096


@contextlib.contextmanager
def haproxy(folder: Path, files: int | None = None) -> Iterator[int]:
    """HAProxy on a port of loopback. ``files``: so many may it open, if they are fewer than this
    process may."""
    from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig, get_haproxy_binary
    from ray.serve.config import HTTPOptions

    port, metrics_port, stats_port = free_ports(3)
    config = HAProxyConfig(
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        metrics_socket_path=str(folder / "metrics.sock"),
        maxconn=int(variables(haproxy=True, folder=folder)["RAY_SERVE_HAPROXY_MAXCONN"]),
        metrics_port=metrics_port,
        stats_port=stats_port,
        http_options=HTTPOptions(host="127.0.0.1", port=port),
    )
    file = folder / "haproxy.cfg"
    HAProxyApi(config, config_file_path=str(file))._generate_config_file_internal()
    command = [get_haproxy_binary(), "-db", "-f", str(file)]
    if files is not None:
        command = ["sh", "-c", f'ulimit -n {files} && exec "$0" "$@"', *command]
    with subprocess.Popen(command) as process:
        try:
            eventually(lambda: process.poll() is not None or answers(port))
            assert process.poll() is None
            yield port
        finally:
            process.kill()


def answers(port: int) -> bool:
    """Whether it answers a request by itself."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as link:
        link.sendall(b"GET /-/routes HTTP/1.1\r\nhost: a\r\n\r\n")
        return link.recv(9) == b"HTTP/1.1 "
    return False


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process may open as many files as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_FOR_MORE:
        pytest.skip(f"HAProxy takes no more connections here; raise ulimit -n to {FILES_FOR_MORE}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_connections_that_say_nothing_keep_nobody_out(
    tmp_path: Path, many_files: None
) -> None:
    with haproxy(tmp_path) as port, contextlib.ExitStack() as silent:
        for _ in range(RAYS_CONNECTIONS + 200):
            silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        assert answers(port)


def test_it_starts_where_few_open_files_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, FEW_FILES))
    with haproxy(tmp_path, FEW_FILES):
        pass
