"""The gate knows who asks: keys, scopes, rates, pages of other sites, people behind a proxy."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.metrics import HTTP_REQUESTS
from tests.rigs import virtual_time
from tests.rigs.serve.asgi import Answered, GateBench, a_key, bearer, ok, part, refused, with_keys
from workers.serve.admission.asgi import Message, Receive, Send
from workers.serve.caller import Scope
from workers.settings.serve import ServePolicy

PUBLIC = ["/healthz", "/readyz", "/", "/console/app.js", "/openapi.json", "/favicon.ico"]


@pytest.mark.parametrize("path", PUBLIC)
def test_public_paths_need_no_key_and_answer_while_the_server_drains(
    path: str, tmp_path: Path
) -> None:
    async def ask() -> Answered:
        bench = with_keys(a_key(tmp_path)[1])
        bench.services.standing.draining = True
        return await bench.ask(path, method="GET", messages=[part(b"")])

    assert virtual_time.run(ask()).status == 200


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/models", "/consoles", "/v1/live", "/x"])
def test_every_other_path_needs_a_key(path: str, tmp_path: Path) -> None:
    async def ask() -> Answered:
        return await with_keys(a_key(tmp_path)[1]).ask(path, method="GET")

    answered = virtual_time.run(ask())
    assert (answered.status, answered.error["code"]) == (401, "missing_api_key")
    assert answered.headers["www-authenticate"] == "Bearer"


def test_who_asks_without_a_key_for_a_public_path_may_do_nothing(tmp_path: Path) -> None:
    scopes: list[frozenset[Scope]] = []

    async def note(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append(scope["state"]["admitted"].caller.scopes)
        await ok(scope, receive, send)

    async def ask() -> None:
        for method in ("GET", "OPTIONS"):
            bench = with_keys(a_key(tmp_path)[1], note)
            path = "/" if method == "GET" else "/v1/classify"
            await bench.ask(path, method=method, messages=[part(b"")])

    virtual_time.run(ask())
    assert scopes == [frozenset(), frozenset()]


@pytest.mark.parametrize(
    "path", ["/v1/classify", "/v1/embeddings", "/v1/moderations", "/v1/models", "/hf/anything"]
)
def test_a_key_without_the_scope_classify_may_not_ask_the_model(path: str, tmp_path: Path) -> None:
    async def ask() -> Answered:
        key, file = a_key(tmp_path, scopes=["live"])
        return await with_keys(file).ask(path, headers=bearer(key))

    answered = virtual_time.run(ask())
    assert answered.status == 403
    assert b"'classify'" in answered.body


def test_a_key_with_a_rate_reads_its_balance_in_every_answer(tmp_path: Path) -> None:
    async def ask() -> None:
        key, file = a_key(tmp_path, images_per_s=1, burst=2)
        bench = with_keys(file)
        headers = bearer(key) | {"content-type": "image/png"}
        left = []
        for _ in range(3):
            answered = await bench.ask(headers=headers)
            left.append(answered.headers["x-ratelimit-remaining-requests"])
        assert left == ["1", "0", "0"]
        assert answered.status == 429
        assert 0 < int(answered.headers["retry-after-ms"]) <= 1000

    virtual_time.run(ask())


def test_without_keys_a_page_of_another_site_is_refused() -> None:
    async def ask() -> None:
        bench = GateBench()
        host = {"host": "127.0.0.1:8000"}
        assert await refused(bench, host | {"origin": "https://evil.example"}) == "cross_origin"
        assert await refused(bench, host | {"origin": "null"}) == "cross_origin"
        for rebound in ("evil.example:8000", "evil.example", "127.0.0.1.evil.example"):
            headers = {"host": rebound, "origin": f"http://{rebound}"}
            assert await refused(bench, headers) == "cross_origin"
            assert await refused(bench, {"host": rebound}) == "cross_origin"
        for own in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost", "10.0.0.1"):
            for headers in ({"host": own}, {"host": own, "origin": f"http://{own}"}):
                assert (await bench.ask(headers=headers)).status == 200

    virtual_time.run(ask())


def _behind_a_proxy(file: Path) -> GateBench:
    return with_keys(file, policy=ServePolicy(identity_header="X-Forwarded-Email"))


NAMED = {"x-forwarded-email": "ann@example.org"}


def test_a_person_is_named_by_a_trusted_proxy_in_logs_and_not_in_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        key, file = a_key(tmp_path, proxy=True)
        bench = _behind_a_proxy(file)
        assert (await bench.ask(headers=bearer(key) | NAMED)).status == 200
        assert [each["key"] for each in bench.meter.labels(HTTP_REQUESTS)] == ["shop"]

    caplog.set_level(logging.INFO, "clipstream.access")
    virtual_time.run(ask())
    assert "key=shop/ann@example.org" in caplog.text


@pytest.mark.parametrize("name", [None, "", "ann bob", "ann\nkey=admin", "x" * 300])
def test_a_proxy_that_names_nobody_is_refused(name: str | None, tmp_path: Path) -> None:
    async def ask() -> str:
        key, file = a_key(tmp_path, proxy=True)
        named = {} if name is None else {"x-forwarded-email": name}
        return await refused(_behind_a_proxy(file), bearer(key) | named)

    assert virtual_time.run(ask()) == "identity_missing"


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    async def ask() -> str:
        key, file = a_key(tmp_path, proxy=True)
        twice = NAMED | {"X-Forwarded-EMAIL": "bob@example.org"}
        return await refused(_behind_a_proxy(file), bearer(key) | twice)

    assert virtual_time.run(ask()) == "identity_missing"


def test_a_header_alone_or_beside_an_ordinary_key_names_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        key, file = a_key(tmp_path)
        bench = _behind_a_proxy(file)
        assert await refused(bench, NAMED) == "missing_api_key"
        assert (await bench.ask(headers=bearer(key) | NAMED)).status == 200

    caplog.set_level(logging.INFO)
    virtual_time.run(ask())
    assert "ann" not in caplog.text
