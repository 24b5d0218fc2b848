"""``GET /v1/dead-letters``: how many there are and why. ``POST /v1/dead-letters/replay``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.records import JsonValue
from pipeline.replay import Selection
from workers.serve.caller import Scope
from workers.serve.live.replays import Asked
from workers.serve.live.routes.asking import asking_the_stream, needing
from workers.serve.openapi import errors
from workers.serve.reading.bodies import json_body, read_json
from workers.serve.services import Services

SURVEY: JsonValue = {
    "looked_back": {
        "letters": 413,
        "since": 1_767_139_200.0,
        "whole": True,
        "bound": "the last 24 hours, at most 100,000 letters",
    },
    "codes": [
        {
            "code": "fetch.not_found",
            "count": 413,
            "replayed": 0,
            "meaning": "the object, or the requested version of it, does not exist",
            "remedy": "check that uploads finish before their notifications",
            "newest_at": 1_767_225_600.0,
            "samples": [
                {
                    "id": "814e34f9-3f1b-533d-97e4-016c1f922e21",
                    "at": 1_767_225_600.0,
                    "subject": "s3://photos/1.jpg",
                    "uri": "s3://photos/1.jpg",
                    "message": "fetch: no such object",
                    "attempts": 1,
                    "image": {
                        "bucket": "photos",
                        "key": "1.jpg",
                        "version_id": None,
                        "etag": None,
                    },
                }
            ],
        }
    ],
}
SHOWN: JsonValue = {
    "would_send": 100,
    "skipped": {"replayed before": 3},
    "topics": {"clipstream.references": 100},
    "codes": {"fetch.not_found": 100},
    "token": "eyJvbmNlIjoi…",
}
SENT: JsonValue = {"sent": 100, "skipped": {}}


class Replay(BaseModel):
    """Dead letters to send back to the stream."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    codes: tuple[Annotated[str, Field(max_length=100)], ...] = Field(
        (),
        description="Codes; `fetch.*` stands for all of a stage. Empty: all codes.",
        max_length=100,
    )
    since: float | None = Field(None, description="Letters written from then on, in Unix seconds.")
    until: float | None = Field(None, description="Letters written before, in Unix seconds.")
    limit: int | None = Field(None, description="Send at most so many.", gt=0)
    publish: bool = Field(False, description="Send what was shown. Without this, show it.")
    token: str | None = Field(
        None, description="What the answer had that showed the letters.", max_length=100_000
    )

    def asked(self) -> Asked:
        selection = Selection(self.codes, _milliseconds(self.since), _milliseconds(self.until))
        return Asked(selection, self.limit)


def letters(services: Services) -> APIRouter:
    router = APIRouter(tags=["dead letters"])

    @router.get(
        "/v1/dead-letters",
        summary="Dead letters by code, with samples",
        responses=errors(401, 403, 429, 503) | _answers(SURVEY),
    )
    async def survey(request: Request, code: str | None = None) -> Response:
        caller = needing(Scope.DEAD_LETTERS, request).caller
        stream = services.live.require_stream()
        with asking_the_stream():
            found = await stream.letters.survey(caller)
        return JSONResponse(found.to_json(lambda each: not code or fnmatchcase(each, code)))

    @router.post(
        "/v1/dead-letters/replay",
        summary="Send dead letters back to the stream, once they were shown",
        responses=errors(400, 401, 403, 415, 429, 503) | _answers(SHOWN, SENT),
        openapi_extra=json_body(
            Replay,
            {
                "Show what would be sent": {"codes": ["fetch.*"], "limit": 100},
                "Send what was shown": {
                    "codes": ["fetch.*"],
                    "limit": 100,
                    "publish": True,
                    "token": "eyJvbmNlIjoi…",
                },
            },
        ),
    )
    async def replay(request: Request) -> Response:
        caller = needing(Scope.REPLAY, request).caller
        stream = services.live.require_stream()
        asked = await read_json(request, Replay)
        with asking_the_stream():
            if asked.publish:
                told = await stream.replays.send(caller, asked.asked(), asked.token)
            else:
                told = await stream.replays.show(caller, asked.asked())
        return JSONResponse(told)

    return router


def _answers(*examples: JsonValue) -> dict[int | str, dict[str, Any]]:
    named = {str(number): {"value": example} for number, example in enumerate(examples, start=1)}
    return {200: {"content": {"application/json": {"examples": named}}}}


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
