"""The application on a real Ray Serve, with either proxy: what only Ray Serve, its proxies and its
processes decide. The tests of one proxy share a server, and the last one ends it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.rigs.serve import steered
from tests.rigs.serve.on_ray import PNG, ServedOnRay, ask, processes_with, served_on_ray
from tests.rigs.waiting import eventually
from workers.cluster.serving.environment import uses_haproxy
from workers.settings.serve import ServePolicy

pytestmark = [pytest.mark.component, pytest.mark.timeout(300)]

REPLICAS = 2


@pytest.fixture(scope="module", params=["python", "haproxy"])
def server(request: pytest.FixtureRequest) -> Iterator[ServedOnRay]:
    if request.param == "haproxy" and not uses_haproxy(ServePolicy()):
        pytest.skip("HAProxy's package exists for Linux on x86-64 alone; install ray[serve] there")
    serve = {"proxy": request.param, "min_replicas": REPLICAS}
    with served_on_ray({"serve": serve}) as server:
        yield server.wait_until_ready(REPLICAS)


def test_an_image_is_answered_with_one_request_id(server: ServedOnRay) -> None:
    answer = ask(server.port, headers={"x-request-id": "of-the-client"})
    assert answer.status == 200
    assert answer.json["results"]
    assert answer.all_of("x-request-id") == ["of-the-client"]


def test_headers_for_ray_serve_change_nothing(server: ServedOnRay) -> None:
    with server.held():
        slow = server.begin(headers={"x-request-timeout-seconds": "0.1"})
        eventually(lambda: server.in_flight == 1)
        # A second one, so that the first has surely waited for longer than its header says.
        later = server.begin()
        eventually(lambda: server.in_flight == 2)
    assert [slow.result().status, later.result().status] == [200, 200]


@pytest.mark.parametrize("header", [{}, {"x-request-disconnect-disabled": "?1"}])
def test_a_client_that_goes_frees_its_slot(server: ServedOnRay, header: dict[str, str]) -> None:
    with server.held():
        link = socket.create_connection(("127.0.0.1", server.port))
        lines = {"host": "a", "content-type": "image/png", "content-length": str(len(PNG))}
        told = "".join(f"{name}: {value}\r\n" for name, value in (lines | header).items())
        link.sendall(f"POST /v1/classify HTTP/1.1\r\n{told}\r\n".encode() + PNG)
        eventually(lambda: server.in_flight == 1)
        link.close()
        eventually(lambda: server.in_flight == 0)


def test_a_replica_that_lost_its_device_says_so_and_is_replaced(server: ServedOnRay) -> None:
    before = server.replicas()
    (server.steer / steered.LOSE).touch()
    answer = ask(server.port)
    assert (answer.status, answer.code) == (503, "encode.device")
    assert answer.all_of("retry-after-ms")
    eventually(lambda: len(set(server.replicas()) - set(before)) == 1)
    assert ask(server.port).status == 200


def test_a_killed_replica_is_replaced_and_clients_notice_it_briefly(server: ServedOnRay) -> None:
    before = server.replicas()
    (_, process), *_ = before.values()
    os.kill(process, signal.SIGKILL)
    heard: Counter[str] = Counter()

    def replaced() -> bool:
        try:
            heard[str(ask(server.port).status)] += 1
        except (OSError, http.client.HTTPException):
            heard["no answer"] += 1
        return len(server.replicas()) == REPLICAS and process not in {
            pid for _, pid in server.replicas().values()
        }

    eventually(replaced)
    assert heard.keys() <= {"200", "500", "503", "no answer"}
    assert heard["200"] > heard.total() / 2
    assert [ask(server.port).status for _ in range(4)] == [200] * 4


def test_a_drain_loses_nothing_and_refuses_in_json(server: ServedOnRay) -> None:
    folder = str(server.log.parent)
    with server.held():
        asked = [server.begin() for _ in range(6)]
        eventually(lambda: server.in_flight == len(asked))
        server.terminate()
        eventually(lambda: ask(server.port).status == 503)
        refused = ask(server.port)
    assert refused.code == "draining"
    assert refused.all_of("content-type") == ["application/json"]
    assert int(refused.all_of("retry-after-ms")[0]) > 0
    assert [each.result().status for each in asked] == [200] * len(asked)
    assert server.exit_code() == 0
    eventually(lambda: processes_with("RAY_TMPDIR", folder) == [])
