"""The console's API without a stream: what a test publishes is what the page sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from workers.serve.admission.asgi import Application, Message, Receive, Send
from workers.serve.services import Services

TICK_S = 0.02
ALL_SCOPES = ("classify", "live", "dead-letters", "replay", "admin")

Json = dict[str, Any]
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the page sent."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ScriptedApi:
    """Answers what the console asks beside classifications. A test changes its fields at any time.

    ``letters``, ``replay`` and ``status`` are the answers of these routes. ``changed`` is put into
    what the application says of itself at the page's start. ``refusals`` are answered in place of a
    path's answer, first one first. ``images`` are JPEG files by key. ``rates`` are told
    one after the other, then that of ``stats``.
    """

    def __init__(self) -> None:
        self._generation = 0
        self.readers = 0
        self.reset()

    def reset(self) -> None:
        """As at the start. Streams of readers end."""
        self._generation += 1
        self.key: str | None = None
        self.scopes: tuple[str, ...] = ALL_SCOPES
        self.changed: Json = {"stream": {"configured": True, "why": None}}
        self.letters: Json = {"looked_back": {"bound": "Nothing was read."}, "codes": []}
        self.replay: Json = {"would_send": 0, "skipped": {}, "topics": {}, "token": "t-1"}
        self.status: Json = {
            "model": None,
            "label_sets": [],
            "replicas": [],
            "workers": None,
            "queues": {"encode": 0, "decode": 0, "in_hand": 0},
        }
        self.stats: Json = {"rate": 0.0, "lag": 0, "age_s": None, "dropped": 0}
        self.rates: list[float] = []
        self.stats_every_s = 1.0
        self.images: dict[str, bytes] = {}
        self.refusals: dict[str, list[Response]] = {}
        self.asked: list[Asked] = []
        self._published: list[Json] = []

    def around(self, application: Application, services: Services) -> Application:
        """This API in front of the application."""

        async def answer(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
                await application(scope, receive, send)
                return
            request = Request(scope, receive)
            response = await self._answer(request)
            if response is None:
                behind = _replayed(await request.body())
                if scope["path"] == "/v1/console":
                    said = await _said(application, scope, behind)
                    key = {"name": "tester", "scopes": [*self.scopes]}
                    response = JSONResponse(_merged(said, self.changed | {"key": key}))
                else:
                    await application(scope, behind, send)
                    return
            await response(scope, receive, send)

        return answer

    # -- what a test does ----------------------------------------------------------------------

    def publish(self, *outcomes: Json) -> None:
        self._published += outcomes

    def cut(self) -> None:
        """End the streams of all readers."""
        self._generation += 1

    def asked_of(self, path: str, method: str | None = None) -> list[Asked]:
        return [
            each
            for each in [*self.asked]
            if each.path == path and (method is None or each.method == method)
        ]

    # -- what the page asks --------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response | None:
        path = request.url.path
        is_json = request.headers.get("content-type", "").startswith("application/json")
        body = await request.body()
        self.asked.append(
            Asked(
                request.method,
                path,
                dict(request.query_params),
                json.loads(body) if body and is_json else None,
                dict(request.headers),
            )
        )
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return refusal(401, "invalid_key", "the key is unknown; send one that exists")
        if waiting := self.refusals.get(path):
            return waiting.pop(0)
        match path:
            case "/v1/live":
                return StreamingResponse(
                    self._outcomes(dict(request.query_params)), media_type="text/event-stream"
                )
            case "/v1/live/image":
                image = self.images.get(request.query_params["key"])
                if image is None:
                    return refusal(404, "fetch.not_found", "the object is gone")
                return Response(image, media_type="image/jpeg")
            case "/v1/live/reveal":
                return Response(status_code=204)
            case "/v1/dead-letters":
                return JSONResponse(self.letters)
            case "/v1/dead-letters/replay":
                if json.loads(body)["publish"]:
                    return JSONResponse({"sent": self.replay["would_send"], "skipped": {}})
                return JSONResponse(self.replay)
            case "/v1/status":
                return JSONResponse(self.status)
        return None

    async def _outcomes(self, query: Mapping[str, str]) -> AsyncIterator[str]:
        generation, at = self._generation, 0
        self.readers += 1
        told_at = 0.0
        clock = asyncio.get_running_loop().time
        try:
            while generation == self._generation:
                for outcome in self._published[at:]:
                    at += 1
                    if _passes(outcome, query):
                        yield _event("outcome", outcome)
                if clock() - told_at >= self.stats_every_s:
                    told_at = clock()
                    rate = self.rates.pop(0) if self.rates else self.stats["rate"]
                    yield _event("stats", self.stats | {"rate": rate})
                await asyncio.sleep(TICK_S)
        finally:
            self.readers -= 1


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """An error as the application tells it. An underscore in a header's name is a hyphen."""
    return JSONResponse(
        {"error": {"code": code, "message": message, "type": "x", "param": None}},
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def _passes(outcome: Json, query: Mapping[str, str]) -> bool:
    decisions = outcome["decisions"]
    wanted = {name: query.get(name) for name in ("decision", "label_set", "label", "text")}
    if (decision := wanted["decision"]) and decision != outcome["kind"]:
        decisions = [each for each in decisions if each["decision"] == decision]
        if not decisions:
            return False
    text = wanted["text"]
    return not text or text.lower() in f"{outcome['subject']} {outcome['uri']}".lower()


def _event(name: str, data: Json) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _replayed(body: bytes) -> Receive:
    """The body once more, for the application behind."""
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            # As a client that waits for its answer.
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _said(application: Application, scope: Message, receive: Receive) -> Json:
    """The JSON that the application answers."""
    body = bytearray()

    async def send(message: Message) -> None:
        body.extend(message.get("body", b""))

    await application(scope, receive, send)
    said: Json = json.loads(body)
    return said


def _merged(said: Json, changed: Json) -> Json:
    return said | {
        name: _merged(said[name], value) if isinstance(value, dict) else value
        for name, value in changed.items()
    }
