"""What real connections see of the gate: answers to bodies that nobody reads, keys, scopes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.rigs.serve.application import served
from tests.rigs.serve.listening import Listening, listening
from tests.rigs.stages.decoding import as_file, noise
from workers.serve.admission.key_file import KeyEntry, new_key
from workers.serve.caller import Scope
from workers.settings.serve import ServePolicy

pytestmark = [pytest.mark.component]

MIB = 1024 * 1024
PNG = as_file(noise(40, 30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[Scope, str]:
    """A key for each scope, which has this scope alone."""
    made = {}
    for scope in Scope:
        made[scope], key_id, hashed = new_key()
        entry = KeyEntry(id=key_id, name=scope.value, sha256=hashed, scopes=(scope,))
        (folder / scope.value).write_text(entry.line())
    return made


@pytest.fixture(scope="module")
def server(folder: Path, keys: dict[Scope, str]) -> Iterator[Listening]:
    settings = served(serve=ServePolicy(keys=folder, max_body_bytes=MIB, body_deadline_s=3))
    with listening(settings) as running:
        yield running


class Raw:
    """A connection that says what a client library would not."""

    def __init__(self, server: Listening, key: str) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._file = self._socket.makefile("rb")
        self._head = f"POST /v1/classify HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n"

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, headers: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of the answer."""
        self._socket.sendall(f"{self._head}{headers}\r\n".encode() + body)
        status = int(self._file.readline().split()[1])
        read: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            read[name.lower()] = value.strip()
        return status, read, json.loads(self._file.read(int(read["content-length"])))

    def send(self, body: bytes) -> None:
        self._socket.sendall(body)

    def is_closed(self) -> bool:
        """Whether the server closes the connection in order."""
        return self._file.read(1) == b""


def test_a_body_that_is_declared_too_large_is_answered_before_it_is_sent(
    server: Listening, keys: dict[Scope, str]
) -> None:
    with Raw(server, keys[Scope.CLASSIFY]) as raw:
        status, headers, answer = raw.ask("content-type: image/png\r\ncontent-length: 9999999\r\n")
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
        assert headers["connection"] == "close"
        assert raw.is_closed()


def test_a_client_that_sends_on_after_the_refusal_reads_it_and_no_reset(
    server: Listening, keys: dict[Scope, str]
) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with Raw(server, keys[Scope.CLASSIFY]) as raw:
        # Sixteen chunks are the cap; the seventeenth is over it, and three more come after it.
        status, headers, answer = raw.ask(
            "content-type: image/png\r\ntransfer-encoding: chunked\r\n", chunk * 20 + b"0\r\n\r\n"
        )
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
        assert headers["connection"] == "close"
        assert raw.is_closed()


def test_a_body_that_stops_coming_is_answered_and_the_connection_closed(
    server: Listening, keys: dict[Scope, str]
) -> None:
    with Raw(server, keys[Scope.CLASSIFY]) as raw:
        status, _, answer = raw.ask(
            "content-type: image/png\r\ncontent-length: 500000\r\n", b"only this"
        )
        assert (status, answer["error"]["code"]) == (400, "body_timeout")
        assert raw.is_closed()
    assert server.services.memory.held_bytes == 0


def test_after_the_refusal_of_a_small_body_the_connection_is_used_again(
    server: Listening, keys: dict[Scope, str]
) -> None:
    length = f"content-length: {len(PNG)}\r\n"
    with Raw(server, keys[Scope.CLASSIFY]) as raw:
        status, _, _ = raw.ask("content-type: text/plain\r\n" + length, PNG)
        assert status == 415
        status, _, answer = raw.ask("content-type: image/png\r\n" + length, PNG)
        assert status == 200, answer


ROUTES = [
    ("POST", "/v1/classify", Scope.CLASSIFY),
    ("POST", "/v1/moderations", Scope.CLASSIFY),
    ("POST", "/v1/embeddings", Scope.CLASSIFY),
    ("GET", "/v1/models", Scope.CLASSIFY),
    ("POST", "/hf/zero-shot-image-classification", Scope.CLASSIFY),
    ("GET", "/v1/live", Scope.LIVE),
    ("GET", "/v1/dead-letters", Scope.DEAD_LETTERS),
    ("POST", "/v1/dead-letters/replay", Scope.REPLAY),
    ("GET", "/v1/status", Scope.ADMIN),
]


@pytest.mark.parametrize(("method", "path", "needed"), ROUTES)
def test_a_route_answers_keys_with_its_scope_alone(
    method: str, path: str, needed: Scope, server: Listening, keys: dict[Scope, str]
) -> None:
    with httpx2.Client(base_url=server.url) as client:
        for scope, key in keys.items():
            answer = client.request(
                method,
                path,
                headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
                content=b"{}" if method == "POST" else None,
            )
            refused = answer.status_code == 403 and "lacks the scope" in answer.text
            assert refused is (scope is not needed), answer.text
        assert client.request(method, path).status_code == 401
