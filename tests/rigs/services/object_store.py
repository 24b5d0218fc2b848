"""An object store to test, a way to fill it, and how to read from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from pipeline.errors import Reject
from pipeline.ports import ListedObject, ObjectStore
from pipeline.records import ObjectBody
from tests.rigs.services.scripted_s3 import go_on

MAX_BYTES = 3 * 1024 * 1024


class Writer(Protocol):
    def create_bucket(self, bucket: str, *, versioned: bool = False) -> None: ...

    def put(
        self, bucket: str, key: str, body: bytes, content_encoding: str | None = None
    ) -> ObjectBody: ...

    def delete(self, bucket: str, key: str) -> None: ...

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]: ...


@dataclass(frozen=True)
class Bench:
    """A store, a way to fill it, and a new bucket with versions."""

    store: ObjectStore
    writer: Writer
    bucket: str
    cannot_hold: frozenset[str] = frozenset()

    async def fetch(
        self,
        key: str,
        *,
        version_id: str | None = None,
        etag: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> ObjectBody:
        return await self.store.fetch(
            self.bucket,
            key,
            version_id=version_id,
            etag=etag,
            max_bytes=max_bytes,
            on_answer=go_on,
        )

    def read(self, key: str, **how: Any) -> ObjectBody:
        return asyncio.run(self.fetch(key, **how))

    def rejection(self, key: str, **how: Any) -> str:
        with pytest.raises(Reject) as caught:
            self.read(key, **how)
        return caught.value.code
