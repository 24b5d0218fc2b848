"""A request is answered after its outcomes are published, whatever the route."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from pipeline.errors import Retry
from pipeline.events import EventsPolicy
from pipeline.events.served import ServedEvents
from pipeline.records import EventRecord
from tests.rigs.serve.application import application
from tests.rigs.stages.decoding import as_file, noise
from workers.serve.app import build_app
from workers.serve.records import Records
from workers.serve.services import Services

pytestmark = [pytest.mark.component]


class Log:
    """A publisher, and an application around another: what came first, records or the answer."""

    def __init__(self, services: Services, failure: Exception | None = None) -> None:
        self.events: list[str] = []
        self.records: list[EventRecord] = []
        self._failure = failure
        records = Records(self, ServedEvents(EventsPolicy(embeddings=False), "1"))
        self._application = build_app(replace(services, records=records))

    async def publish(self, records: Sequence[EventRecord]) -> None:
        for _ in range(20):  # whoever does not wait is faster
            await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        self.records += records
        self.events.append("published")

    def close(self) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def noticed(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.events.append("answered")
            await send(message)

        await self._application(scope, receive, noticed)

    def client(self) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self)
        return httpx2.AsyncClient(transport=transport, base_url="http://clipstream")


BODY = as_file(noise(40, 30))
URI = f"data:image/png;base64,{base64.b64encode(BODY).decode()}"
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/classify": {"json": {"image": URI, "labels": ["a walrus", "a teapot"]}},
    "/v1/moderations": {"json": {"input": [URI]}},
    "/v1/embeddings": {"json": {"input": ["a walrus", URI]}},
    "/hf/zero-shot-image-classification": {
        "json": {"inputs": URI, "parameters": {"candidate_labels": ["a walrus", "a teapot"]}}
    },
    "/hf/image-classification": {"content": BODY},
}
"""Each with one image."""

BROKEN = BODY[: len(BODY) // 2]
BROKEN_URI = f"data:image/png;base64,{base64.b64encode(BROKEN).decode()}"


@pytest.mark.parametrize("route", ROUTES)
def test_outcomes_are_published_before_the_answer(route: str) -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services)
            async with log.client() as client:
                answer = await client.post(route, **ROUTES[route])
            assert answer.status_code == 200, answer.text
            assert log.events == ["published", "answered"]
            assert len(log.records) == 1
            value = json.loads(log.records[0].value)
            assert value["request"]["route"] == route
            assert value["request"]["id"] == answer.headers["x-request-id"]
            assert value["object"]["sha256"] == hashlib.sha256(BODY).hexdigest()
            assert b"walrus" not in log.records[0].value
            assert b"teapot" not in log.records[0].value

    asyncio.run(ask())


@pytest.mark.parametrize("route", ROUTES)
def test_an_image_that_cannot_be_looked_at_is_published_with_its_code(route: str) -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services)
            async with log.client() as client:
                given = ROUTES[route]
                if "json" in given:
                    written = json.dumps(given["json"]).replace(URI, BROKEN_URI)
                    given = {"json": json.loads(written)}
                else:
                    given = {"content": BROKEN}
                answer = await client.post(route, **given)
            assert answer.status_code == 400
            assert log.events == ["published", "answered"]
            (record,) = log.records
            assert json.loads(record.value)["code"] == "decode.truncated"
            assert json.loads(record.value)["sha256"] == hashlib.sha256(BROKEN).hexdigest()

    asyncio.run(ask())


def test_places_count_texts_and_what_names_no_image() -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services)
            async with log.client() as client:
                await client.post("/v1/embeddings", json={"input": ["a walrus", URI, URI]})
                await client.post("/v1/classify", json={"images": ["!", URI]})
            values = [json.loads(record.value) for record in log.records]
            assert [value["request"]["index"] for value in values] == [1, 2, 1]

    asyncio.run(ask())


def test_label_sets_of_the_server_are_published_in_full() -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services)
            async with log.client() as client:
                answer = await client.post("/v1/classify", content=BODY)
            (result,) = json.loads(log.records[0].value)["results"]
            (answered,) = answer.json()["images"][0]["results"]
            assert result == answered

    asyncio.run(ask())


@pytest.mark.parametrize("route", ROUTES)
def test_without_records_the_answer_is_503_and_names_when_to_come_again(route: str) -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services, Retry("kafka.unavailable", "kafka: no broker answers"))
            async with log.client() as client:
                answer = await client.post(route, **ROUTES[route])
            assert answer.status_code == 503
            assert "the outcome could not be recorded (kafka.unavailable)" in answer.text
            assert answer.headers["retry-after-ms"] == "1000"
            assert services.standing.ready

    asyncio.run(ask())
