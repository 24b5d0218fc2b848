"""What every object store does, of web servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from pipeline.ports import ListedObject
from pipeline.records import ObjectBody
from tests.contract.test_object_store_contract import KEYS, ReadingContract
from tests.rigs.services.object_store import Bench
from tests.rigs.services.scripted_s3 import answer
from tests.rigs.services.web_server import Web


class Pages:
    """A web server's pages as a bench fills them: the host is the bucket."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def put(
        self, bucket: str, key: str, body: bytes, content_encoding: str | None = None
    ) -> ObjectBody:
        etag = hashlib.sha256(body).hexdigest()
        coding = {} if content_encoding is None else {"Content_Encoding": content_encoding}
        self._web.server.pages[f"{bucket}/{key}"] = answer(
            "200 OK", body, ETag=f'"{etag}"', **coding
        )
        return ObjectBody(body, etag, None, content_encoding)

    def create_bucket(self, bucket: str, *, versioned: bool = False) -> None: ...

    def delete(self, bucket: str, key: str) -> None:
        del self._web.server.pages[f"{bucket}/{key}"]

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        raise NotImplementedError


class OneLoopEach:
    """A store for each read, because a bench runs each on an event loop of its own."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def fetch(self, bucket: str, key: str, **how: Any) -> ObjectBody:
        async with self._web.opened() as store:
            return await store.fetch(bucket, key, **how)

    async def close(self) -> None: ...


class TestHttps(ReadingContract):
    # No URL is written like these.
    cannot_hold = frozenset(key for key in KEYS if quote(key, safe="/%?&=;@$,!()*'+:~") != key)

    @pytest.fixture
    def bench(self, web: Web) -> Bench:
        return Bench(OneLoopEach(web), Pages(web), "a.example.com", self.cannot_hold)
