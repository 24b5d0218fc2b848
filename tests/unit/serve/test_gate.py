"""The gate decides by a request's head, and reads a body only under a cap and a deadline."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import Halt
from pipeline.metrics import HTTP_HELD_BYTES, HTTP_REFUSALS
from tests.rigs import virtual_time
from tests.rigs.serve.asgi import REST, GateBench, a_key, bearer, ok, part, refused, with_keys
from workers.serve.admission.asgi import Message, Receive, Send
from workers.serve.admission.internal_headers import DropInternalHeaders
from workers.settings.serve import ServePolicy

SMALL = ServePolicy(max_body_bytes=100)


def test_reasons_to_refuse_come_in_order_and_none_reads_the_body(tmp_path: Path) -> None:
    async def ask() -> None:
        wrong = {
            "content-encoding": "gzip",
            "content-type": "text/plain",
            "content-length": "101",
        }
        key, file = a_key(tmp_path, images_per_s=0.001, burst=1)
        bench = with_keys(file, policy=SMALL)
        standing = bench.services.standing
        standing.draining, standing.failure = True, Halt("encode.unusable", "the device is gone")

        assert await refused(bench, wrong) == "missing_api_key"
        wrong |= bearer(key)
        assert await refused(bench, wrong) == "draining"
        standing.draining = False
        assert await refused(bench, wrong) == "encode.unusable"
        standing.failure = None
        assert await refused(bench, wrong) == "unsupported_content_encoding"
        assert await refused(bench, wrong) == "rate_limit_exceeded"  # the image before was the last
        await asyncio.sleep(1000)
        wrong["content-encoding"] = "identity"
        assert await refused(bench, wrong) == "unsupported_media_type"
        await asyncio.sleep(1000)
        wrong["content-type"] = "image/jpeg; charset=x"
        assert await refused(bench, wrong) == "body_too_large"
        await asyncio.sleep(1000)
        wrong["content-length"] = "8"
        assert (await bench.ask(headers=wrong)).status == 200

        reasons = {each["reason"] for each in bench.meter.labels(HTTP_REFUSALS)}
        assert {"missing_api_key", "draining", "body_too_large"} <= reasons

    virtual_time.run(ask())


@pytest.mark.parametrize(
    ("length", "more", "status", "code"),
    [
        ("-1", {}, 400, "invalid_content_length"),
        ("ten", {}, 400, "invalid_content_length"),
        ("9" * 30, {}, 400, "invalid_content_length"),
        ("8", {"transfer-encoding": "chunked"}, 400, "invalid_content_length"),
        ("101", {}, 413, "body_too_large"),
    ],
)
def test_a_length_that_makes_no_sense_is_refused_unread(
    length: str, more: dict[str, str], status: int, code: str
) -> None:
    async def ask() -> None:
        answered = await GateBench(policy=SMALL).ask(headers={"content-length": length} | more)
        assert (answered.status, answered.error["code"]) == (status, code)

    virtual_time.run(ask())


@pytest.mark.parametrize("sent", [b"short", b"longer than it says"])
def test_a_body_of_another_length_than_declared_is_refused(sent: bytes) -> None:
    async def ask() -> None:
        bench = GateBench()
        answered = await bench.ask(headers={"content-length": "8"}, messages=[part(sent), REST])
        assert (answered.status, answered.error["code"]) == (400, "body_incomplete")
        assert bench.meter.value(HTTP_HELD_BYTES) == 0

    virtual_time.run(ask())


def test_a_chunked_body_is_read_up_to_the_cap_and_no_further() -> None:
    async def ask() -> None:
        bench = GateBench(policy=SMALL)
        chunks = [part(b"x" * 60, more=True)] * 20_000
        answered = await bench.ask(headers={"transfer-encoding": "chunked"}, messages=chunks)
        assert (answered.status, answered.error["code"]) == (413, "body_too_large")
        assert answered.headers["connection"] == "close"
        # Dropped after the answer, up to a bound, so that the client sees the answer.
        assert answered.reads < 20_000
        assert max(bench.meter.values(HTTP_HELD_BYTES)) <= 100
        assert bench.services.memory.held_bytes == 0

    virtual_time.run(ask())


def test_a_large_body_that_is_refused_closes_the_connection_after_the_answer() -> None:
    async def ask() -> None:
        began_s = asyncio.get_running_loop().time()
        answered = await GateBench(policy=SMALL).ask(
            headers={"content-length": "1000000"}, messages=[part(b"x", more=True), REST]
        )
        assert answered.status == 413
        assert answered.headers["connection"] == "close"
        # The answer is whole before the rest is waited for, and the wait is bounded.
        assert answered.messages[1]["body"] == answered.body
        assert answered.messages[1]["more_body"] is True
        assert asyncio.get_running_loop().time() - began_s <= 1.0

    virtual_time.run(ask())


def test_a_small_body_that_is_refused_leaves_the_connection_open() -> None:
    async def ask() -> None:
        answered = await GateBench().ask(headers={"content-type": "text/x", "content-length": "8"})
        assert answered.status == 415
        assert "connection" not in answered.headers

    virtual_time.run(ask())


def test_a_slow_body_ends_at_the_deadline_and_costs_what_it_has_sent() -> None:
    async def ask() -> None:
        bench = GateBench(policy=ServePolicy(body_deadline_s=7))
        waiting = asyncio.create_task(
            bench.ask(
                headers={"content-length": "9000000"}, messages=[part(b"xy", more=True), REST]
            )
        )
        await asyncio.sleep(6)
        assert bench.services.memory.held_bytes == 2
        answered = await waiting
        assert (answered.status, answered.error["code"]) == (400, "body_timeout")
        assert answered.headers["connection"] == "close"
        assert bench.services.memory.held_bytes == 0

    virtual_time.run(ask())


def test_slow_bodies_keep_no_place_of_those_that_have_arrived() -> None:
    async def ask() -> None:
        bench = GateBench(policy=ServePolicy(max_requests=1))
        slow = [
            asyncio.create_task(bench.ask(messages=[part(b"x", more=True), REST]))
            for _ in range(50)
        ]
        await asyncio.sleep(1)
        assert (await bench.ask()).status == 200
        for each in slow:
            assert (await each).error["code"] == "body_timeout"

    virtual_time.run(ask())


def test_bytes_beyond_the_budget_are_refused_by_their_length_and_as_they_arrive() -> None:
    async def ask() -> None:
        bench = GateBench(policy=ServePolicy(max_memory_mib=1))
        half = part(b"x" * 600_000, more=True)
        held = asyncio.create_task(bench.ask(messages=[half, REST]))
        await asyncio.sleep(0.1)
        assert await refused(bench, {"content-length": "600000"}) == "overloaded"
        answered = await bench.ask(headers={"transfer-encoding": "chunked"}, messages=[half, half])
        assert (answered.status, answered.error["code"]) == (429, "overloaded")
        assert int(answered.headers["retry-after-ms"]) > 0
        assert bench.services.memory.held_bytes == 600_000
        await held
        assert bench.services.memory.held_bytes == 0

    virtual_time.run(ask())


INTERNAL = {
    "x-request-timeout-seconds": "0",
    "x-request-disconnect-disabled": "?1",
    "x-session-id": "s",
    "serve_multiplexed_model_id": "m",
}


def test_headers_of_ray_serve_are_dropped_and_no_others() -> None:
    seen: list[Message] = []

    async def note(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope)
        if scope["type"] == "http":
            await ok(scope, receive, send)

    async def ask() -> None:
        await GateBench(note).ask(headers=INTERNAL | {"accept": "*/*"})
        headers = [(b"X-Session-ID", b"s"), (b"host", b"here")]
        await DropInternalHeaders(note)({"type": "other", "headers": headers}, _never, _swallow)

    virtual_time.run(ask())
    assert [scope["headers"] for scope in seen] == [[(b"accept", b"*/*")], [(b"host", b"here")]]


async def _never() -> Message:
    raise AssertionError("nothing is received")


async def _swallow(message: Message) -> None:
    """Where an answer goes that nobody looks at."""


def test_hugging_faces_clients_read_errors_of_their_own_shape() -> None:
    async def ask() -> None:
        answered = await GateBench().ask("/hf/x", headers={"content-type": "text/ü"})
        assert answered.status == 415
        assert answered.headers["x-error-message"].startswith("the Content-Type of the body is")
        assert b'"error": "the Content-Type' in answered.body

    virtual_time.run(ask())


def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    virtual_time.run(_open(receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def _open(receive: Receive, send: Send) -> None:
    await GateBench().gate({"type": "websocket", "path": "/", "headers": []}, receive, send)
