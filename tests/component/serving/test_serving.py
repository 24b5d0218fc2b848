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

pytestmark = pytest.mark.component

REPLICAS = 2


ONE_PROXY = pytest.mark.parametrize("server", ["haproxy"], indirect=True)
"""What Ray Serve does with replicas is the same behind both proxies, and takes long."""


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
    assert answer.json["images"][0]["results"]
    assert answer.json["request_id"] == "of-the-client"
    assert answer.all_of("x-request-id") == ["of-the-client"]


def test_headers_for_ray_serve_change_nothing(server: ServedOnRay) -> None:
    with server.held():
        slow = server.begin(headers={"x-request-timeout-seconds": "0.1"})
        eventually(lambda: server.in_flight == 1)
        # A second one, so that the first has surely waited for longer than its header says.
        later = server.begin()
        eventually(lambda: server.in_flight == 2)
    assert [slow.result().status, later.result().status] == [200, 200]


@pytest.mark.parametrize("sent", [b"no http", b"GET / HTTP/1.1\r\nno header"])
def test_a_proxy_refuses_what_is_no_http_by_itself(server: ServedOnRay, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        link.sendall(sent + b"\r\n\r\n")
        assert link.recv(64).startswith(b"HTTP/1.1 400 ")


def test_a_proxy_answers_paths_of_its_own_without_the_application(server: ServedOnRay) -> None:
    assert ask(server.port, "/-/routes", method="GET").json == {"/": "clipstream"}
    assert ask(server.port, "/-/healthz", method="GET").body == b"success"


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


@ONE_PROXY
def test_a_replica_that_lost_its_device_says_so_and_is_replaced(server: ServedOnRay) -> None:
    before = server.replicas()
    (server.steer / steered.LOSE).touch()
    answer = ask(server.port)
    assert (answer.status, answer.code) == (503, "encode.device")
    assert answer.all_of("retry-after-ms")
    eventually(lambda: len(set(server.replicas()) - set(before)) == 1)
    assert ask(server.port).status == 200


@ONE_PROXY
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


def heard(port: int, request: bytes) -> tuple[int, str]:
    """Status and content type of the answer to bytes that an ``http.client`` would not send."""
    with socket.create_connection(("127.0.0.1", port), 30) as link:
        link.sendall(request)
        response = http.client.HTTPResponse(link)
        response.begin()
        return response.status, response.getheader("content-type", "").partition(";")[0]


LONG = b"a" * 20_000
HTML, TEXT, JSON = "text/html", "text/plain", "application/json"
OWN_ANSWERS: dict[str, tuple[bytes, tuple[int, str], tuple[int, str]]] = {
    "no request at all": (b"GARBAGE\r\n\r\n", (400, HTML), (400, TEXT)),
    "a header of 20 kB": (
        b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-long: " + LONG + b"\r\n\r\n",
        (400, HTML),
        (200, JSON),
    ),
    "a path of 20 kB": (
        b"GET /" + LONG + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        (400, HTML),
        (404, JSON),
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        (400, HTML),
        (400, TEXT),
    ),
    "whether the proxy lives": (
        b"GET /-/healthz HTTP/1.1\r\nhost: a\r\n\r\n",
        (200, TEXT),
        (200, TEXT),
    ),
    "its routes": (b"GET /-/routes HTTP/1.1\r\nhost: a\r\n\r\n", (200, JSON), (200, JSON)),
}
"""What the proxies themselves answer: of HAProxy, and of the proxy in Python."""


@pytest.mark.parametrize("what", OWN_ANSWERS)
def test_what_the_proxies_answer_themselves(
    server: ServedOnRay, what: str, request: pytest.FixtureRequest
) -> None:
    sent, *expected = OWN_ANSWERS[what]
    haproxy = "haproxy" in request.node.name
    assert heard(server.port, sent) == expected[0 if haproxy else 1]


def test_bodies_that_are_too_large_are_refused_in_json(server: ServedOnRay) -> None:
    most = ServePolicy().max_body_bytes
    declared = (
        b"POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\n"
        b"content-length: %d\r\n\r\n" % (most + 1)
    )
    assert heard(server.port, declared) == (413, JSON)
    chunks = iter([b"a" * 1_000_000] * (most // 1_000_000 + 1))
    chunked = ask(server.port, body=chunks)
    assert (chunked.status, chunked.code) == (413, "body_too_large")


def test_a_drain_loses_nothing_and_refuses_in_json(server: ServedOnRay) -> None:
    folder = str(server.log.parent)
    with server.held():
        asked = [server.begin() for _ in range(6)]
        eventually(lambda: server.in_flight == len(asked))
        server.terminate()
        eventually(lambda: len(server.replicas("draining")) == REPLICAS)
        refused = ask(server.port)
    assert refused.code == "draining"
    assert refused.all_of("content-type") == ["application/json"]
    assert int(refused.all_of("retry-after-ms")[0]) > 0
    assert [each.result().status for each in asked] == [200] * len(asked)
    assert server.exit_code() == 0
    eventually(lambda: processes_with("RAY_TMPDIR", folder) == [])
