"""The console's API without a stream: what a test publishes is what the page sees."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.rigs.serve.scripted_classify import classified
from workers.serve.admission.gate import Application, Message, Receive, Send
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

    ``about``, ``letters``, ``replay`` and ``status`` are the answers of these routes. ``refusals``
    are answered in place of a path's answer, first one first. ``images`` are JPEG files by key.
    """

    def __init__(self) -> None:
        self._served: Json = {}
        self._generation = 0
        self.readers = 0
        self.reset()

    def reset(self) -> None:
        """As at the start. Streams of readers end."""
        self._generation += 1
        self.key: str | None = None
        self.scopes: tuple[str, ...] = ALL_SCOPES
        self.about: Json = copy.deepcopy(self._served)
        self.letters: Json = {"looked_back": {"bound": "Nothing was read."}, "codes": []}
        self.replay: Json = {"would_send": 0, "skipped": {}, "topics": {}, "token": "t-1"}
        self.status: Json = {
            "model": self.about.get("model"),
            "label_sets": [],
            "replicas": [],
            "workers": None,
            "queues": {"encode": 0, "decode": 0, "in_hand": 0},
        }
        self.stats: Json = {"rate": 0.0, "lag": 0, "age_s": None, "dropped": 0}
        self.images: dict[str, bytes] = {}
        self.refusals: dict[str, list[Response]] = {}
        self.asked: list[Asked] = []
        self._published: list[Json] = []

    def around(self, application: Application, services: Services) -> Application:
        """This API in front of the application."""
        self._served = about(services)
        self.reset()

        async def answer(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
                await application(scope, receive, send)
                return
            request = Request(scope, receive)
            response = await self._answer(request)
            if response is None and scope["path"] == "/v1/classify":
                response = await classified(request, services)
            if response is None:
                await application(scope, _replayed(await request.body()), send)
            else:
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
            case "/v1/console":
                key = {"name": "tester", "scopes": [*self.scopes]}
                return JSONResponse(self.about | {"key": key})
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
                if clock() - told_at >= 1:
                    told_at = clock()
                    yield _event("stats", self.stats)
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


def about(services: Services) -> Json:
    """``/v1/console`` of a server that follows a stream."""
    model = services.model
    sets = []
    for compiled in services.rules().scoring:
        label_set = compiled.label_set
        labels = []
        for label in label_set.labels:
            thresholds = {
                name: None if given is None else {"score": given.score, "action": given.action}
                for name, given in (("act", label.act), ("review", label.review))
            }
            labels.append({"name": label.name, "neutral": label.neutral, **thresholds})
        sets.append(
            {
                "name": label_set.name,
                "version": label_set.version,
                "decision": label_set.decision.value,
                "actions": [*label_set.actions],
                "default_action": label_set.default_action,
                "labels": labels,
                "changed_at": None,
            }
        )
    policy = services.settings.serve
    return {
        "version": "0.1.0",
        "model": {
            "name": model.name,
            "revision": model.revision,
            "precision": model.precision,
            "dimension": model.dimension,
            "logit_scale": model.logit_scale,
        },
        "label_sets": sorted(sets, key=lambda each: str(each["name"])),
        "default_label_set": policy.default_label_set or min(str(each["name"]) for each in sets),
        "blur": policy.blur,
        "stream": {"configured": True, "why": None},
        "limits": {
            "max_images": policy.max_images,
            "max_body_bytes": policy.max_body_bytes,
            "max_prompts": policy.max_prompts,
        },
        "geometry": {"resize": 224, "crop": 224},
    }


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
