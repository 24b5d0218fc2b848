"""A request is answered after its outcomes are published, whatever the route."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from workers.serve.publishing.records import Records
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


@contextmanager
def naming(route: str) -> Iterator[None]:
    """Failures within name the route."""
    try:
        yield
    except AssertionError as failed:
        failed.add_note(route)
        raise


def test_outcomes_are_published_before_the_answer() -> None:
    async def ask() -> None:
        async with application() as (_, services):
            for route, given in ROUTES.items():
                log = Log(services)
                async with log.client() as client:
                    answer = await client.post(route, **given)
                with naming(route):
                    assert answer.status_code == 200, answer.text
                    assert log.events == ["published", "answered"]
                    (record,) = log.records
                    value = json.loads(record.value)
                    assert value["request"]["route"] == route
                    assert value["request"]["id"] == answer.headers["x-request-id"]
                    assert value["object"]["sha256"] == hashlib.sha256(BODY).hexdigest()
                    assert b"walrus" not in record.value
                    assert b"teapot" not in record.value

    asyncio.run(ask())


def test_an_image_that_cannot_be_looked_at_is_published_with_its_code() -> None:
    async def ask() -> None:
        async with application() as (_, services):
            for route, given in ROUTES.items():
                log = Log(services)
                async with log.client() as client:
                    broken: dict[str, Any] = {"content": BROKEN}
                    if "json" in given:
                        written = json.dumps(given["json"]).replace(URI, BROKEN_URI)
                        broken = {"json": json.loads(written)}
                    answer = await client.post(route, **broken)
                with naming(route):
                    assert answer.status_code == 400
                    assert log.events == ["published", "answered"]
                    (record,) = log.records
                    value = json.loads(record.value)
                    assert value["code"] == "decode.truncated"
                    assert value["sha256"] == hashlib.sha256(BROKEN).hexdigest()

    asyncio.run(ask())


def test_without_records_the_answer_is_503_and_names_when_to_come_again() -> None:
    async def ask() -> None:
        async with application() as (_, services):
            for route, given in ROUTES.items():
                log = Log(services, Retry("kafka.unavailable", "kafka: no broker answers"))
                async with log.client() as client:
                    answer = await client.post(route, **given)
                with naming(route):
                    assert answer.status_code == 503
                    assert "the outcome could not be recorded (kafka.unavailable)" in answer.text
                    assert answer.headers["retry-after-ms"] == "1000"
                    assert services.standing.ready

    asyncio.run(ask())


def test_what_is_published_of_a_request_with_several_items() -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services)
            async with log.client() as client:
                await client.post("/v1/embeddings", json={"input": ["a walrus", URI, URI]})
                answer = await client.post("/v1/classify", json={"images": ["!", URI]})
            values = [json.loads(record.value) for record in log.records]
            # Texts, and what names no image, have their place and no event.
            assert [value["request"]["index"] for value in values] == [1, 2, 1]
            assert [len(value["results"]) for value in values] == [0, 0, 1]
            # Label sets of the server are published as they are answered.
            assert values[2]["results"] == answer.json()["images"][1]["results"]

    asyncio.run(ask())
