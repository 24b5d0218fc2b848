"""An S3 server that answers whatever a test scripts, and our client of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from pipeline.adapters.s3.policy import S3Policy
from pipeline.adapters.s3.store import ObstoreS3
from pipeline.records import ObjectBody

BODY = b"image"
ACCESS_KEY, SECRET_KEY, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI", "session-token-value"
WAIT_S = 20.0

T = TypeVar("T")

both_ways = pytest.mark.parametrize("key", ["dir/a.jpg", "dir//a.jpg"], ids=["obstore", "boto3"])
"""For keys of each of the two ways in which the store reads."""


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status: str, code: str, **headers: str) -> bytes:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
    return answer(status, body.encode(), Content_Type="application/xml", **headers)


def found(**headers: str) -> bytes:
    return answer("200 OK", BODY, ETag='"e1"', **headers)


class Script:
    """A server, in a thread of its own, that gives one answer to everything and remembers what it
    was asked."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.reply = found()
        self.then = "stay"
        """What follows the answer: ``stay`` connected, ``close``, or ``drip`` bytes slowly."""
        self.delay_s = 0.0
        self.requests: list[str] = []
        self.client_has_gone = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._host, self._tls = host, tls
        self._stopped = asyncio.Event()
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(listening)))
        self._thread.start()
        assert listening.wait(WAIT_S)

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self.port}"

    def answer_to(self, request: str) -> bytes:
        """The answer to a request's head."""
        return self.reply

    def play(self, reply: bytes, then: str = "stay") -> None:
        self.reply, self.then = reply, then
        self.requests.clear()
        self.client_has_gone.clear()

    def target(self) -> str:
        """What the last request asked for."""
        return self.requests[-1].split(" ", 2)[1]

    def header(self, name: str) -> str | None:
        for line in self.requests[-1].split("\r\n")[1:]:
            found_name, _, value = line.partition(": ")
            if found_name.lower() == name:
                return value
        return None

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(WAIT_S)

    async def _run(self, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        self.port: int = server.sockets[0].getsockname()[1]
        listening.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(request.decode("latin-1"))
                reply = self.answer_to(self.requests[-1])
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(reply)
                await writer.drain()
                if self.then == "close":
                    break
                while self.then == "drip":
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.client_has_gone.set()
        finally:
            writer.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(WAIT_S):
            return await main

    return asyncio.run(bounded())


@contextlib.contextmanager
def credentials() -> Iterator[None]:
    """Credentials in the environment, and nothing else there that speaks to AWS clients."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        environment.setenv("AWS_SESSION_TOKEN", TOKEN)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@contextlib.contextmanager
def serving() -> Iterator[Script]:
    script = Script()
    try:
        yield script
    finally:
        script.close()


def policy(endpoint: str, **changes: Any) -> S3Policy:
    return S3Policy(
        **{"endpoint": endpoint, "region": "us-east-1", "allowed_buckets": ["*"]} | changes
    )


@contextlib.contextmanager
def opened(policy: S3Policy) -> Iterator[ObstoreS3]:
    store = ObstoreS3(policy)
    yield store
    asyncio.run(store.close())


async def fetch(
    store: ObstoreS3,
    key: str,
    *,
    version_id: str | None = None,
    etag: str | None = None,
    max_bytes: int = 1000,
) -> ObjectBody:
    return await store.fetch(
        "images", key, version_id=version_id, etag=etag, max_bytes=max_bytes, on_answer=go_on
    )


async def go_on(_: int | None = None) -> None:
    """For callers that bound no memory."""
