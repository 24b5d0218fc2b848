"""The console's API alone, on fakes: no decoders, no model, no gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response

from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import PipelineError, Reject
from pipeline.fetch.attempt import Attempts
from pipeline.fetch.policy import FetchPolicy
from pipeline.labels.scoring import compile_label_sets
from pipeline.metrics import SERVE_REPLICA
from pipeline.records import DecodedImage, ImageFacts, ImageRef, ObjectBody
from tests.rigs.serve.application import LABEL_SETS, served
from tests.rigs.serve.stream import WRITTEN_S, MemoryTopics
from tests.rigs.waiting import INTERVAL_S, WAIT_S
from workers.label_sets import ScoringRules
from workers.serve.admission.asgi import Application, Message
from workers.serve.admission.memory import MemoryBudget
from workers.serve.admission.rates import Rates
from workers.serve.admission.room import Depth, Room
from workers.serve.app import as_api_error
from workers.serve.caller import ANYBODY, Admitted, Caller
from workers.serve.errors import ApiError
from workers.serve.live.cluster import ThisReplica
from workers.serve.live.letters import Letters
from workers.serve.live.live import Live, Stream
from workers.serve.live.pictures import Pictures
from workers.serve.live.replays import Replays
from workers.serve.live.routes.letters import letters
from workers.serve.live.routes.live import TICK_S, live
from workers.serve.live.routes.overview import overview
from workers.serve.live.watch import Watch
from workers.serve.services import Services
from workers.serve.standing import Standing
from workers.settings.loading import Settings

ROOM = 8
encoder = MemoryEncoder()


@cache
def _rules() -> ScoringRules:
    sets = load_label_sets((LABEL_SETS,))
    return ScoringRules(
        compile_label_sets(sets, encoder.encode_texts, encoder.model),
        {each.name: each.version for each in sets},
    )


@dataclass
class Objects:
    """A store of objects, and a decoder that takes their bytes for pictures."""

    bodies: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: list[ImageRef] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    policy: FetchPolicy = field(default_factory=FetchPolicy)
    on_read: Callable[[], object] = lambda: None

    async def read(self, ref: ImageRef) -> ObjectBody:
        self.asked.append(ref)
        await asyncio.sleep(0)
        self.on_read()
        body = self.bodies.get((ref.bucket, ref.key))
        if body is None:
            raise Reject("fetch.not_found", f"{ref.uri}: no such object")
        return ObjectBody(body, None, None)

    async def whole(
        self, body: bytes, edge: int, content_encoding: str | None = None, level: int = 0
    ) -> DecodedImage:
        self.levels.append(level)
        pixels = np.full((edge // 2, edge, 3), len(body), np.uint8)
        return DecodedImage(pixels, ImageFacts("PNG", 2 * edge, edge, 1, 0.0))


@dataclass
class Console:
    """The routes, and what they work with. ``caller`` asks."""

    services: Services
    topics: MemoryTopics
    objects: Objects
    clock: HandClock
    caller: Caller = ANYBODY
    _application: Application | None = None

    def application(self) -> Application:
        if self._application is None:
            self._application = self._built()
        return self._application

    def _built(self) -> Application:
        api = FastAPI()
        for routes in (overview, live, letters):
            api.include_router(routes(self.services))

        async def answer(request: Request, error: Exception) -> Response:
            told = as_api_error(error, request.url.path)
            return Response(told.body("id"), told.status, told.headers(), "application/json")

        for kind in (ApiError, PipelineError):
            api.add_exception_handler(kind, answer)

        async def admit(scope: Message, receive: Any, send: Any) -> None:
            hold = self.services.memory.hold()
            scope["state"] = {"admitted": Admitted(self.caller, "id", hold)}
            await cast("Application", api)(scope, receive, send)

        return admit

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.application())
        async with httpx2.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.request(method, path, **options)

    @asynccontextmanager
    async def events(self, query: str = "") -> AsyncIterator[EventStream]:
        """The live view's stream during the block; whoever asked leaves after it."""
        stream = EventStream(self.clock)
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/live",
            "query_string": query.encode(),
            "headers": [],
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }
        task = asyncio.ensure_future(self.application()(scope, stream.receive, stream.send))
        try:
            yield stream
        finally:
            stream.left.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class EventStream:
    """Server-sent events of an answer, as they arrive. ``reads`` may be cleared: then nothing more
    is taken of the answer, as of a slow client."""

    def __init__(self, clock: HandClock) -> None:
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = asyncio.Event()
        self.events: list[tuple[str, Any]] = []
        self._asked = False
        self._clock = clock

    def named(self, name: str) -> list[Any]:
        return [data for of, data in self.events if of == name]

    async def until(self, count: int, name: str = "outcome") -> list[Any]:
        """The events of the name, once there are so many. Time goes on meanwhile."""
        async with asyncio.timeout(WAIT_S):
            while len(self.named(name)) < count:
                await self.tick()
        return self.named(name)

    async def tick(self, seconds: float = TICK_S) -> None:
        """Let time go on, and whoever waits for it."""
        self._clock.now += seconds
        await asyncio.sleep(INTERVAL_S)

    async def receive(self) -> Message:
        if self._asked:
            await self.left.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        for event in message["body"].decode().split("\n\n"):
            lines = dict(line.partition(": ")[::2] for line in event.split("\n") if line)
            if "event" in lines:
                self.events.append((lines["event"], json.loads(lines["data"])))
            elif lines:
                self.events.append(("comment", event))
        if not message.get("more_body", False):
            self.ended.set()


def console(
    *,
    caller: Caller = ANYBODY,
    configured: bool = True,
    settings: Settings | None = None,
    changed_at: Mapping[str, float] | None = None,
) -> Console:
    settings = settings or served()
    clock = HandClock(WRITTEN_S)
    topics, objects, standing = MemoryTopics(), Objects(), Standing()
    meter, rates = MemoryMeter(SERVE_REPLICA), Rates(clock)
    room = Room(Depth(ROOM, 0, None, lambda images: 0.1 * images), rates, meter)
    stream = Stream(Watch(topics, clock), Letters(topics, clock), Replays(topics, clock))
    pictures = Pictures(cast("Attempts", objects), objects, lambda pixels: b"%d" % pixels[0, 0, 0])
    services = Services(
        settings=settings,
        model=encoder.model,
        images=cast("Any", None),
        prompts=cast("Any", None),
        rules=_rules,
        keys=None,
        rates=rates,
        room=room,
        memory=MemoryBudget(2**30, meter),
        standing=standing,
        live=Live(
            stream=stream if configured else None,
            pictures=pictures,
            geometry=encoder.geometry,
            changed_at=lambda: changed_at or {},
            values=dict,
        ),
        cluster=ThisReplica(encoder.model, standing, room, dict, settings.endpoints.discovery_file),
        clock=clock,
        meter=meter,
    )
    return Console(services, topics, objects, clock, caller)


def audit(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines of the audit log. A client of the test may log its requests, too."""
    return [line.getMessage() for line in caplog.records if line.name == "clipstream.audit"]


def limited(caller: Caller = ANYBODY, **limits: Any) -> Caller:
    """The caller with a key that is limited in these respects."""
    return replace(caller, **{"name": "limited"} | limits)
