"""What the gate tells of requests: their ids, metrics and logs, and no key."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from pipeline.metrics import (
    HTTP_HELD_BYTES,
    HTTP_IMAGE_BYTES,
    HTTP_IMAGE_OUTCOMES,
    HTTP_IMAGES,
    HTTP_IN_FLIGHT,
    HTTP_REFUSALS,
    HTTP_REQUEST_SECONDS,
    HTTP_REQUESTS,
    SERVE_REPLICA,
)
from tests.rigs import virtual_time
from tests.rigs.serve.asgi import GateBench, a_key, bearer, ok, part, with_keys
from workers.logs import REQUEST_ID
from workers.serve.admission.asgi import Message, Receive, Send
from workers.serve.caller import Admitted


async def broken(scope: Message, receive: Receive, send: Send) -> None:
    raise KeyError("a defect")


def test_a_defect_is_answered_and_logged_with_the_id_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ask() -> None:
        answered = await GateBench(broken).ask(headers={"x-request-id": "abc-1"})
        assert (answered.status, answered.error["code"]) == (500, "internal")
        assert answered.error["request_id"] == "abc-1"
        assert "defect" not in answered.body.decode()

    virtual_time.run(ask())
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("given", "taken"),
    [("order-7.b_C", True), ("", False), ("a b", False), ("x" * 129, False), ("é", False)],
)
def test_a_requests_id_is_its_clients_own_if_it_is_safe(given: str, taken: bool) -> None:
    async def ask() -> None:
        bench = GateBench()
        answered = await bench.ask("/nothing", headers={"x-request-id": given})
        assert (answered.headers["x-request-id"] == given) is taken

    virtual_time.run(ask())


def test_where_a_proxy_names_requests_the_application_does_not() -> None:
    async def ask() -> None:
        bench = GateBench(sets_request_id=False)
        answered = await bench.ask(headers={"x-request-id": "abc", "content-type": "text/x"})
        assert "x-request-id" not in answered.headers
        assert answered.error["request_id"] == "abc"

    virtual_time.run(ask())


def test_every_line_of_a_requests_log_can_name_it() -> None:
    seen: list[str | None] = []

    async def note(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(await asyncio.to_thread(REQUEST_ID.get))
        await ok(scope, receive, send)

    async def ask() -> None:
        bench = GateBench(note)
        await asyncio.gather(*(bench.ask(headers={"x-request-id": each}) for each in "ab"))
        assert REQUEST_ID.get() is None

    asyncio.run(ask())
    assert sorted(map(str, seen)) == ["a", "b"]


async def counting(scope: Message, receive: Receive, send: Send) -> None:
    admitted: Admitted = scope["state"]["admitted"]
    admitted.images, admitted.image_bytes = 2, 700
    for outcome in ("seen", "seen", "decode"):
        admitted.count(outcome)
    await asyncio.sleep(2)
    await ok(scope, receive, send)


def test_requests_are_counted_and_timed_by_route_status_and_name_of_the_key(tmp_path: Path) -> None:
    async def ask() -> None:
        key, file = a_key(tmp_path)
        bench = with_keys(file, counting)
        meter = bench.meter
        asking = asyncio.create_task(bench.ask(headers=bearer(key)))
        await asyncio.sleep(1)
        assert meter.value(HTTP_IN_FLIGHT) == 1
        assert meter.value(HTTP_HELD_BYTES) == len(b"an image")
        await asking
        route = "/v1/classify"
        assert meter.value(HTTP_IN_FLIGHT) == 0
        assert meter.value(HTTP_HELD_BYTES) == 0
        assert meter.value(HTTP_REQUESTS, route=route, status="200", key="shop") == 1
        assert meter.values(HTTP_REQUEST_SECONDS, route=route) == [2]
        assert meter.value(HTTP_IMAGES, key="shop") == 2
        assert meter.value(HTTP_IMAGE_BYTES, key="shop") == 700
        assert meter.value(HTTP_IMAGE_OUTCOMES, outcome="seen") == 2
        assert meter.value(HTTP_IMAGE_OUTCOMES, outcome="decode") == 1

    virtual_time.run(ask())


def test_requests_that_reach_no_route_share_one_label_and_count_no_images(tmp_path: Path) -> None:
    async def ask() -> None:
        bench = with_keys(a_key(tmp_path)[1])
        for path in ("/a", "/b", "/v2/c"):
            await bench.ask(path)
        assert bench.meter.labels(HTTP_REQUESTS) == [
            {"route": "other", "status": "401", "key": "nobody"}
        ]
        assert bench.meter.value(HTTP_REFUSALS, reason="missing_api_key") == 3
        assert bench.meter.labels(HTTP_IMAGES) == []
        assert bench.meter.labels(HTTP_IMAGE_BYTES) == []
        assert bench.meter.labels(HTTP_IMAGE_OUTCOMES) == []

    virtual_time.run(ask())


def test_a_request_that_is_admitted_is_no_refusal() -> None:
    async def ask() -> None:
        bench = GateBench()
        await bench.ask()
        assert bench.meter.labels(HTTP_REFUSALS) == []

    virtual_time.run(ask())


def test_the_access_log_has_a_line_a_request_without_bodies_queries_and_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, file = a_key(tmp_path)

    async def ask() -> None:
        bench = with_keys(file, counting)
        await bench.ask(headers=bearer(key))
        await bench.ask("/healthz", method="GET", messages=[part(b"")])

    caplog.set_level(logging.INFO)
    virtual_time.run(ask())
    (line,) = [each.getMessage() for each in caplog.records if each.name == "clipstream.access"]
    assert line == "POST /v1/classify 200 key=shop images=2 bytes=700 ms=2000.0"


def test_a_key_shows_in_no_log_no_metric_and_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, file = a_key(tmp_path)
    caplog.set_level(logging.DEBUG)

    async def ask() -> list[bytes]:
        bench = with_keys(file)
        bodies = [(await bench.ask(headers=bearer(each))).body for each in (key, key + "x")]
        told = [str(bench.meter.labels(metric)) for metric in SERVE_REPLICA]
        return [*bodies, "".join(told).encode()]

    # Its end: a secret may have a "_" in it.
    secret = key[-20:]
    told = b"".join(virtual_time.run(ask())).decode()
    assert secret not in told + caplog.text + file.read_text()
