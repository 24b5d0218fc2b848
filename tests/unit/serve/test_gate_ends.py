"""The gate and a request's end: clients that go, deadlines, drains, streams of events."""

from __future__ import annotations

import asyncio

from pipeline.metrics import HTTP_REQUESTS
from tests.rigs import virtual_time
from tests.rigs.serve.asgi import DISCONNECT, GateBench, ok, part, refused
from workers.serve.admission.asgi import Message, Receive, Send
from workers.settings.serve import ServePolicy


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
