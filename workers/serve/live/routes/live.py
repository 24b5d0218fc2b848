"""``GET /v1/live``: outcomes as they are published. ``GET /v1/live/image``: what they are about."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from pipeline.records import ImageRef
from workers.audit import Act, note
from workers.serve.caller import Caller, Scope
from workers.serve.errors import ApiError
from workers.serve.live.fanout import Filter
from workers.serve.live.live import Stream
from workers.serve.live.outcome import Object
from workers.serve.live.routes.asking import needing
from workers.serve.openapi import errors
from workers.serve.reading.bodies import json_body, read_json
from workers.serve.services import Services

TICK_S = 0.2
AT_A_TICK = 50
"""Outcomes that one reader gets at a time: 250 a second, more than a person can follow."""

STATS_S = 1.0
PING_S = 15.0
SIZES = (160, 640)
HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would keep the stream back
}


class Reveal(BaseModel):
    """An image that a person has looked at."""

    id: str = Field(description="Id of the outcome.")
    uri: str | None = Field(None, description="URI of the image.")


def live(services: Services) -> APIRouter:
    router = APIRouter(tags=["live"])

    @router.get(
        "/v1/live",
        summary="Outcomes of the stream as they are published",
        response_class=StreamingResponse,
        responses=errors(401, 403, 429, 503) | {200: {"content": {"text/event-stream": {}}}},
    )
    async def outcomes(
        request: Request,
        decision: str | None = None,
        label_set: str | None = None,
        label: str | None = None,
        text: str | None = None,
    ) -> Response:
        caller = needing(Scope.LIVE, request).caller
        stream = services.live.require_stream()
        wanted = Filter(decision or None, label_set or None, label or None, text or None)
        events = _events(services, stream, caller, wanted)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)

    @router.get(
        "/v1/live/image",
        summary="An image of the stream, whole and small",
        response_class=Response,
        responses=errors(400, 401, 403, 429, 503) | {200: {"content": {"image/jpeg": {}}}},
    )
    async def image(
        request: Request,
        bucket: str = "",
        key: str = "",
        version_id: str | None = None,
        etag: str | None = None,
        size: Annotated[str, Query(description="Longest edge in pixels: 160 or 640.")] = "160",
    ) -> Response:
        admitted = needing(Scope.LIVE, request)
        if size not in map(str, SIZES):
            raise ApiError(
                400, "invalid_request", f"size is {size[:20]!r}; write 160 or 640", param="size"
            )
        if not bucket or not key:
            raise ApiError(400, "invalid_request", "name the image: bucket and key", param="key")
        ref = ImageRef(bucket, key, (), version_id or None, etag or None)
        picture = await services.live.pictures.picture(ref, int(size), admitted)
        headers = {"cache-control": "private, max-age=300", "x-content-type-options": "nosniff"}
        return Response(picture, media_type="image/jpeg", headers=headers)

    @router.post(
        "/v1/live/reveal",
        summary="Note that a blurred image was looked at",
        status_code=204,
        responses=errors(400, 401, 403, 415, 429),
        openapi_extra=json_body(Reveal, {"An image": {"id": "4f…", "uri": "s3://photos/1.jpg"}}),
    )
    async def reveal(request: Request) -> Response:
        admitted = needing(Scope.LIVE, request)
        asked = await read_json(request, Reveal)
        # Lengths and line breaks are the caller's.
        seen = f"{asked.id!r:.200} ({asked.uri!r:.1200})"
        note(Act.REVEALED, f"key {admitted.caller.told}", seen)
        return Response(status_code=204)

    return router


async def _events(
    services: Services, stream: Stream, caller: Caller, wanted: Filter
) -> AsyncIterator[str]:
    """Ends when the server drains: a stream counts as a request in flight."""
    clock = services.clock
    watch = stream.watch
    with watch.joined(caller, wanted) as reader:
        stats_at = clock.monotonic()
        ping_at = stats_at + PING_S
        while not services.standing.draining:
            now = clock.monotonic()
            for outcome in reader.take(AT_A_TICK):
                yield _event("outcome", outcome.to_json())
            if now >= stats_at:
                stats_at = now + STATS_S
                stats: Object = {
                    "rate": reader.rate,
                    "lag": watch.lag,
                    "age_s": reader.age_s,
                    "dropped": reader.dropped,
                    "trouble": watch.trouble,
                }
                yield _event("stats", stats)
            if now >= ping_at:
                ping_at = now + PING_S
                yield ": ping\n\n"
            await clock.sleep(TICK_S)


def _event(name: str, data: Object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
