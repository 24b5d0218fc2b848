"""The gate decides by a request's head, and reads a body only under a cap and a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Halt
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
from tests.rigs.serve.asgi import DISCONNECT, REST, Answered, GateBench, ok, part
from tests.rigs.virtual_time import LoopClock
from workers.logs import REQUEST_ID
from workers.serve.admission.asgi import Message, Receive, Send
from workers.serve.admission.internal_headers import DropInternalHeaders
from workers.serve.admission.key_file import KeyEntry, new_key
from workers.serve.admission.keys import Keys
from workers.serve.caller import Admitted, Scope
from workers.settings.serve import ServePolicy

SMALL = ServePolicy(max_body_bytes=100)


def a_key(folder: Path, **fields: object) -> tuple[str, Path]:
    """A key, and a file that knows it."""
    key, key_id, hashed = new_key()
    entry = KeyEntry.model_validate({"id": key_id, "name": "shop", "sha256": hashed, **fields})
    file = folder / "keys"
    file.write_text(entry.line())
    return key, file


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def refused(bench: GateBench, headers: Mapping[str, str], path: str = "/v1/classify") -> str:
    answered = await bench.ask(path, headers=headers)
    assert answered.reads_first == 0, "the body was read"
    return str(answered.error["code"])


def test_reasons_to_refuse_come_in_order_and_none_reads_the_body(tmp_path: Path) -> None:
    async def ask() -> None:
        wrong = {
            "content-encoding": "gzip",
            "content-type": "text/plain",
            "content-length": "101",
        }
        key, file = a_key(tmp_path, images_per_s=0.001, burst=1)
        clock, meter = LoopClock(), MemoryMeter(SERVE_REPLICA)
        bench = GateBench(policy=SMALL, keys=Keys(file, clock, meter))
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


class Slow:
    """An application that works for a while, and tells whether it was cancelled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running = 0
        self.cancelled = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.running += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        await ok(scope, receive, send)


def test_a_client_that_goes_cancels_its_request_and_frees_everything() -> None:
    async def ask() -> None:
        slow = Slow(50)
        bench = GateBench(slow, ServePolicy(max_requests=1))
        answered = await bench.ask(messages=[part(b"an image"), DISCONNECT])
        assert answered.messages == []
        assert (slow.running, slow.cancelled) == (0, 1)
        assert bench.services.memory.held_bytes == 0
        slow.seconds = 0
        assert (await bench.ask()).status == 200
        told = [(each["status"], each["route"]) for each in bench.meter.labels(HTTP_REQUESTS)]
        assert told == [("499", "/v1/classify"), ("200", "/v1/classify")]

    virtual_time.run(ask())


def test_a_client_that_goes_while_it_sends_is_no_request() -> None:
    async def ask() -> None:
        slow = Slow(0)
        answered = await GateBench(slow).ask(messages=[part(b"an", more=True), DISCONNECT])
        assert answered.messages == []
        assert slow.running == 0

    virtual_time.run(ask())


def test_no_more_requests_are_in_hand_than_allowed() -> None:
    async def ask() -> None:
        bench = GateBench(Slow(5), ServePolicy(max_requests=2))
        waiting = [asyncio.create_task(bench.ask()) for _ in range(2)]
        await asyncio.sleep(1)
        assert await refused(bench, {}) == "overloaded"
        assert [each.status for each in await asyncio.gather(*waiting)] == [200, 200]
        assert (await bench.ask()).status == 200

    virtual_time.run(ask())


def test_an_answer_that_takes_too_long_is_an_error_that_is_not_tried_again() -> None:
    async def ask() -> None:
        slow = Slow(50)
        answered = await GateBench(slow, ServePolicy(deadline_s=7)).ask()
        assert (answered.status, answered.error["code"]) == (503, "deadline_exceeded")
        assert answered.headers["x-should-retry"] == "false"
        assert slow.cancelled == 1

    virtual_time.run(ask())


async def events(scope: Message, receive: Receive, send: Send) -> None:
    kind = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": kind})
    for _ in range(100):
        await asyncio.sleep(60)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def test_a_replica_that_drains_waits_for_what_began_before() -> None:
    async def ask() -> None:
        bench = GateBench(Slow(5))
        standing = bench.services.standing
        before = asyncio.create_task(bench.ask())
        await asyncio.sleep(1)
        standing.draining = True
        headers = {"content-length": "9000000"}  # lingers after its refusal
        late = asyncio.create_task(bench.ask(headers=headers))
        probe = asyncio.create_task(bench.ask("/healthz", method="GET"))
        await asyncio.sleep(0.5)
        assert standing.in_flight == 1
        assert (await before).status == 200
        assert standing.in_flight == 0
        assert [(await late).status, (await probe).status] == [503, 200]
        assert standing.in_flight == 0

    virtual_time.run(ask())


def test_a_stream_of_events_has_no_deadline() -> None:
    async def ask() -> None:
        answered = await GateBench(events).ask(method="GET")
        assert answered.body == b"x" * 100

    virtual_time.run(ask())


def test_a_stream_of_events_ends_with_its_client() -> None:
    async def ask() -> None:
        bench = GateBench(events)
        answered = await bench.ask(method="GET", messages=[part(b""), DISCONNECT])
        assert len(answered.messages) <= 1
        assert bench.services.standing.in_flight == 0

    virtual_time.run(ask())


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


PUBLIC = ["/healthz", "/readyz", "/", "/console/app.js", "/openapi.json", "/favicon.ico"]


@pytest.mark.parametrize("path", PUBLIC)
def test_public_paths_need_no_key_and_answer_while_the_server_drains(
    path: str, tmp_path: Path
) -> None:
    async def ask() -> Answered:
        bench = _with_keys(a_key(tmp_path)[1])
        bench.services.standing.draining = True
        return await bench.ask(path, method="GET", messages=[part(b"")])

    assert virtual_time.run(ask()).status == 200


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/models", "/consoles", "/v1/live", "/x"])
def test_every_other_path_needs_a_key(path: str, tmp_path: Path) -> None:
    async def ask() -> Answered:
        return await _with_keys(a_key(tmp_path)[1]).ask(path, method="GET")

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
            bench = _with_keys(a_key(tmp_path)[1], note)
            path = "/" if method == "GET" else "/v1/classify"
            await bench.ask(path, method=method, messages=[part(b"")])

    virtual_time.run(ask())
    assert scopes == [frozenset(), frozenset()]


def _with_keys(file: Path, application: object = ok) -> GateBench:
    keys = Keys(file, LoopClock(), MemoryMeter(SERVE_REPLICA))
    return GateBench(application, keys=keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["/v1/classify", "/v1/embeddings", "/v1/moderations", "/v1/models", "/hf/anything"]
)
def test_a_key_without_the_scope_classify_may_not_ask_the_model(path: str, tmp_path: Path) -> None:
    async def ask() -> Answered:
        key, file = a_key(tmp_path, scopes=["live"])
        return await _with_keys(file).ask(path, headers=bearer(key))

    answered = virtual_time.run(ask())
    assert answered.status == 403
    assert b"'classify'" in answered.body


def test_a_key_with_a_rate_reads_its_balance_in_every_answer(tmp_path: Path) -> None:
    async def ask() -> None:
        key, file = a_key(tmp_path, images_per_s=1, burst=2)
        bench = _with_keys(file)
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


def test_hugging_faces_clients_read_errors_of_their_own_shape() -> None:
    async def ask() -> None:
        answered = await GateBench().ask("/hf/x", headers={"content-type": "text/ü"})
        assert answered.status == 415
        assert answered.headers["x-error-message"].startswith("the Content-Type of the body is")
        assert b'"error": "the Content-Type' in answered.body

    virtual_time.run(ask())


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
        bench = _with_keys(file, counting)
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
        bench = _with_keys(a_key(tmp_path)[1])
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
        bench = _with_keys(file, counting)
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
        bench = _with_keys(file)
        bodies = [(await bench.ask(headers=bearer(each))).body for each in (key, key + "x")]
        told = [str(bench.meter.labels(metric)) for metric in SERVE_REPLICA]
        return [*bodies, "".join(told).encode()]

    secret = key.rpartition("_")[2][-20:]
    told = b"".join(virtual_time.run(ask())).decode()
    assert secret not in told + caplog.text + file.read_text()


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


def _behind_a_proxy(file: Path) -> GateBench:
    policy = ServePolicy(identity_header="X-Forwarded-Email")
    return GateBench(policy=policy, keys=Keys(file, LoopClock(), MemoryMeter(SERVE_REPLICA)))


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
