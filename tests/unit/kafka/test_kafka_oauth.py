"""Bearer tokens: a file that is renewed, and a token endpoint on loopback."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from kafka.errors import KafkaConnectionError

from pipeline.adapters.kafka.security.oauth import UNSTATED_LIFE_S, ClientCredentials, TokenFile
from pipeline.adapters.memory.clock import HandClock


class Endpoint:
    """Answers with a new token each time, or as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, dict[str, list[str]]]] = []
        self.status = 200
        self.answer: Any = None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked.append((self.headers["Authorization"], parse_qs(body.decode())))
                count = len(endpoint.asked)
                made = {"access_token": f"token-{count}", "expires_in": 100}
                content = json.dumps(endpoint.answer or made).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/token"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.server.serve_forever)
    thread.start()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()
    thread.join()


def test_a_renewed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    provider = TokenFile(file)
    with pytest.raises(KafkaConnectionError, match=r"oauth_token_file: .* cannot be read"):
        provider.token()
    file.write_text("first\n")
    assert provider.token() == "first"
    file.write_text("second")
    assert provider.token() == "second"
    file.write_text(" \n")
    with pytest.raises(KafkaConnectionError, match="is empty"):
        provider.token()


def test_the_endpoint_is_asked_as_the_grant_says(endpoint: Endpoint) -> None:
    provider = ClientCredentials(endpoint.url, "client", "se:cret", "kafka")
    assert provider.token() == "token-1"
    ((authorization, form),) = endpoint.asked
    assert authorization == f"Basic {base64.b64encode(b'client:se%3Acret').decode()}"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}


def test_a_token_is_kept_for_most_of_its_life(endpoint: Endpoint) -> None:
    clock = HandClock()
    provider = ClientCredentials(endpoint.url, "client", "secret", None, clock.monotonic)
    assert [provider.token() for _ in range(3)] == ["token-1"] * 3
    clock.now += 79.0
    assert provider.token() == "token-1"
    clock.now += 2.0
    assert provider.token() == "token-2"


@pytest.mark.parametrize(
    "stated",
    [None, "soon", [], {}, float("nan"), float("inf"), "1e999", pytest.param(10**400, id="huge")],
)
def test_a_life_that_is_no_number_counts_as_not_stated(endpoint: Endpoint, stated: Any) -> None:
    clock = HandClock()
    provider = ClientCredentials(endpoint.url, "client", "secret", None, clock.monotonic)
    endpoint.answer = {"access_token": "kept", "expires_in": stated}
    assert provider.token() == "kept"
    endpoint.answer = None
    clock.now += 0.8 * UNSTATED_LIFE_S - 1
    assert provider.token() == "kept"
    clock.now += 2
    assert provider.token() == "token-2"


def test_a_life_may_be_written_as_text(endpoint: Endpoint) -> None:
    clock = HandClock()
    provider = ClientCredentials(endpoint.url, "client", "secret", None, clock.monotonic)
    endpoint.answer = {"access_token": "kept", "expires_in": "3600"}
    assert provider.token() == "kept"
    clock.now += 2800
    assert provider.token() == "kept"


def test_a_file_that_holds_no_text_is_told_without_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"secret\xff")
    with pytest.raises(KafkaConnectionError, match="holds no token") as caught:
        TokenFile(file).token()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [[1], {"token": "x"}, {"access_token": ""}, {"access_token": {"a": 1}}]
)
def test_an_answer_without_a_token_is_told(endpoint: Endpoint, answer: Any) -> None:
    endpoint.answer = answer
    provider = ClientCredentials(endpoint.url, "client", "secret", None)
    with pytest.raises(KafkaConnectionError, match="without an access_token"):
        provider.token()


def test_a_refusal_is_told_without_the_secret(endpoint: Endpoint) -> None:
    endpoint.status = 401
    provider = ClientCredentials(endpoint.url, "client", "hidden", None)
    with pytest.raises(KafkaConnectionError, match="answers 401") as caught:
        provider.token()
    assert "hidden" not in str(caught.value)
    endpoint.status = 200
    assert provider.token() == "token-2"
