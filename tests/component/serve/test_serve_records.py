"""A request is answered after its outcomes are published, whatever the route."""

from __future__ import annotations

import asyncio
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


ROUTES: dict[str, dict[str, Any]] = {
    "/v1/classify": {"content": as_file(noise(40, 30))},
}


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
            assert f'"route":"{route}"'.encode() in log.records[0].value

    asyncio.run(ask())


@pytest.mark.parametrize("route", ROUTES)
def test_without_records_the_answer_is_503_and_names_when_to_come_again(route: str) -> None:
    async def ask() -> None:
        async with application() as (_, services):
            log = Log(services, Retry("kafka.unavailable", "kafka: no broker answers"))
            async with log.client() as client:
                answer = await client.post(route, **ROUTES[route])
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "publish_failed"
            assert answer.headers["retry-after-ms"] == "1000"
            assert services.standing.ready

    asyncio.run(ask())
