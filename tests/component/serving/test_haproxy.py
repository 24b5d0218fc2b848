"""HAProxy with the file that Ray Serve writes for it, and with our values for its connections."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.services.scripted_s3 import Script, found
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

ASKED = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n"
WAIT_S = 30


@contextlib.contextmanager
def haproxy(
    folder: Path, files: int | None = None, replicas: Sequence[int] = (), **values: Any
) -> Iterator[int]:
    """HAProxy on a port of loopback. ``files``: so many may it open, if they are fewer than this
    process may. ``replicas`` are the ports of an application's replicas. ``values`` are Ray
    Serve's, by its names for them; ``kept_s`` is how long a connection without a request is kept.
    """
    from ray.serve._private.haproxy import (
        BackendConfig,
        HAProxyApi,
        HAProxyConfig,
        ServerConfig,
        get_haproxy_binary,
    )
    from ray.serve.config import HTTPOptions

    kept_s = values.pop("kept_s", 90)
    port, metrics_port, stats_port = free_ports(3)
    ours = variables(haproxy=True, folder=folder)
    config = HAProxyConfig(
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        metrics_socket_path=str(folder / "metrics.sock"),
        maxconn=int(ours["RAY_SERVE_HAPROXY_MAXCONN"]),
        health_check_fall=int(ours["RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL"]),
        health_check_fastinter=ours["RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER"],
        metrics_port=metrics_port,
        stats_port=stats_port,
        http_options=HTTPOptions(host="127.0.0.1", port=port, keep_alive_timeout_s=kept_s),
        **values,
    )
    file = folder / "haproxy.cfg"
    servers = [ServerConfig(str(each), "127.0.0.1", each) for each in replicas]
    backend = BackendConfig("app", "/", app_name="app", servers=servers)
    backends = {"app": backend} if servers else {}
    HAProxyApi(config, backends, config_file_path=str(file))._generate_config_file_internal()
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


Heard = tuple[int, str, bytes]
"""Status, content type and body of an answer."""


def heard(port: int, sent: bytes = ASKED) -> Heard:
    """What a client hears on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as link:
        link.sendall(sent)
        response = http.client.HTTPResponse(link)
        response.begin()
        return response.status, response.headers["content-type"], response.read()


class Replica(Script):
    """Is well when HAProxy asks, and answers everything else as a test says."""

    def answer_to(self, request: str) -> bytes:
        return found() if " /-/healthz " in request else self.reply


@pytest.fixture
def replica() -> Iterator[Replica]:
    with contextlib.closing(Replica()) as replica:
        yield replica


OF_HAPROXY = (500, "text/plain", b"Internal Server Error")
"""One answer for each end of a request that no replica has answered: Ray Serve wants it so."""


def test_a_replica_that_is_not_there_is_told_as_text(tmp_path: Path) -> None:
    with haproxy(tmp_path, replicas=free_ports(1)) as port:
        assert heard(port) == OF_HAPROXY


def test_a_replica_that_does_not_take_the_connection_is_told_as_text(tmp_path: Path) -> None:
    with socket.socket() as busy, contextlib.ExitStack() as waiting:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for _ in range(2):
            link = waiting.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(busy.getsockname())
        replicas = [busy.getsockname()[1]]
        with haproxy(tmp_path, replicas=replicas, timeout_connect_s=1) as port:
            began = time.monotonic()
            assert heard(port) == OF_HAPROXY
            assert time.monotonic() - began > 1


def test_a_replica_that_closes_before_it_answers_is_told_as_text(
    tmp_path: Path, replica: Replica
) -> None:
    replica.play(b"", "close")
    with haproxy(tmp_path, replicas=[replica.port]) as port:
        assert heard(port) == OF_HAPROXY
        assert any("/v1/models" in request for request in replica.requests)


def test_on_a_connection_that_was_answered_before_the_client_hears_nothing(
    tmp_path: Path, replica: Replica
) -> None:
    with (
        haproxy(tmp_path, replicas=[replica.port]) as port,
        socket.create_connection(("127.0.0.1", port), WAIT_S) as link,
    ):
        link.sendall(ASKED)
        assert link.recv(4096).startswith(b"HTTP/1.1 200 ")
        replica.play(b"", "close")
        link.sendall(ASKED)
        assert link.recv(4096) == b""


@pytest.mark.parametrize("sent", [b"", ASKED[:-2]], ids=["nothing", "half a head"])
def test_a_client_that_sends_no_whole_head_in_time_hears_so(tmp_path: Path, sent: bytes) -> None:
    with haproxy(tmp_path, timeout_client_s=1) as port:
        began = time.monotonic()
        status, kind, page = heard(port, sent)
        assert time.monotonic() - began > 0.9
    assert (status, kind) == (408, "text/html")
    assert page.startswith(b"<html>")


def test_a_client_that_stops_in_its_body_hears_so_unless_the_replica_is_first(
    tmp_path: Path, replica: Replica
) -> None:
    replica.delay_s = WAIT_S
    half = b"POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n" + b"12345"
    with haproxy(tmp_path, replicas=[replica.port], timeout_client_s=1) as port:
        status, kind, _ = heard(port, half)
        assert (status, kind) == (400, "text/html")
        replica.delay_s = 0
        assert heard(port, half)[0] == 200


def test_each_byte_of_a_head_gives_the_client_time_again(tmp_path: Path) -> None:
    with (
        haproxy(tmp_path, timeout_client_s=1) as port,
        socket.create_connection(("127.0.0.1", port), WAIT_S) as link,
    ):
        head = b"GET /-/routes HTTP/1.1\r\nhost: a\r\n"
        link.sendall(head)
        for byte in b"a: b\r\n":
            time.sleep(0.4)
            link.sendall(bytes([byte]))
        link.sendall(b"\r\n")
        assert link.recv(4096).startswith(b"HTTP/1.1 ")


def test_a_connection_without_a_request_is_kept_after_an_answer_and_closed_in_silence(
    tmp_path: Path,
) -> None:
    with (
        haproxy(tmp_path, timeout_client_s=1, kept_s=2) as port,
        socket.create_connection(("127.0.0.1", port), WAIT_S) as link,
    ):
        link.sendall(b"GET /-/routes HTTP/1.1\r\nhost: a\r\n\r\n")
        assert link.recv(4096).startswith(b"HTTP/1.1 ")
        began = time.monotonic()
        assert link.recv(4096) == b""
        assert time.monotonic() - began > 1.5
