"""A web server over TLS that answers as a test says, the names that lead to it, and our client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.https.guard import is_public
from pipeline.adapters.https.policy import HttpsPolicy
from pipeline.adapters.https.resolver import Resolver
from pipeline.adapters.https.store import HttpsStore
from pipeline.errors import PipelineError
from pipeline.records import ObjectBody
from tests.rigs.services.certificates import certified
from tests.rigs.services.scripted_s3 import Script, answer, go_on, run

ADDRESS = "127.0.0.2"
"""The server's. Our client dials it as if it were public, and no other address of this machine."""

NAMES = ("*.example.com", "*.example.net")
"""Hosts of the server's certificate. All of them lead to the server, unless ``Names`` differs."""

MAX_BYTES = 1024 * 1024


class WebServer(Script):
    """Gives ``pages`` by host and target (``a.example.com/b?c``), and ``reply`` for any other."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.pages: dict[str, bytes] = {}
        super().__init__(ADDRESS, tls)

    def answer_to(self, request: str) -> bytes:
        return self.pages.get(asked_for(request), self.reply)

    def clear(self) -> None:
        self.pages.clear()
        self.play(answer("404 Not Found"))

    @property
    def asked(self) -> list[str]:
        """What was asked for: host and target."""
        return [asked_for(request) for request in self.requests]


def asked_for(request: str) -> str:
    lines = request.split("\r\n")
    host = next(line[len("host: ") :] for line in lines if line.lower().startswith("host: "))
    return host + lines[0].split(" ")[1]


class Names:
    """Addresses of hosts, in place of ``socket.getaddrinfo``: the server's, or those that
    ``addresses`` has. Each look-up takes the host's next answer, and the last one again."""

    def __init__(self, port: int) -> None:
        self.addresses: dict[str, list[Sequence[str]]] = {}
        self._port = port

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        answers = self.addresses.get(host, [(ADDRESS,)])
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [self._one(address) for address in addresses]

    def _one(self, address: str) -> tuple[Any, ...]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        end = (address, self._port, 0, 0) if ":" in address else (address, self._port)
        return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", end)


class Web:
    """A server, its names, and clients of it. ``dialled`` has every address that a client was about
    to dial."""

    def __init__(self, ca_file: Path, tls: ssl.SSLContext) -> None:
        self.server = WebServer(tls)
        self.names = Names(self.server.port)
        self.dialled: list[str] = []
        self._ca_file = ca_file
        self.clear()

    def clear(self) -> None:
        self.server.clear()
        self.names.addresses.clear()
        self.dialled.clear()

    def rule(self, address: str) -> bool:
        self.dialled.append(address)
        return address == ADDRESS or is_public(address)

    def store(self, **settings: Any) -> HttpsStore:
        policy = {"allowed_hosts": ("*.example.com",), "ca_file": self._ca_file} | settings
        return HttpsStore(
            HttpsPolicy.model_validate(policy), rule=self.rule, resolver=Resolver(self.names)
        )

    @asynccontextmanager
    async def opened(self, **settings: Any) -> AsyncIterator[HttpsStore]:
        store = self.store(**settings)
        try:
            yield store
        finally:
            await store.close()

    def close(self) -> None:
        self.server.close()


async def fetch(store: HttpsStore, key: str, host: str = "a.example.com", **how: Any) -> ObjectBody:
    """Read an image as the fetch stage would."""
    wanted = {"version_id": None, "etag": None, "max_bytes": MAX_BYTES, "on_answer": go_on} | how
    return await store.fetch(host, key, **wanted)


def read(web: Web, key: str = "x.jpg", host: str = "a.example.com", **how: Any) -> ObjectBody:
    """An image, read by a store of its own. ``settings`` are the store's."""
    settings = how.pop("settings", {})

    async def main() -> ObjectBody:
        async with web.opened(**settings) as store:
            return await fetch(store, key, host, **how)

    return run(main())


def failure(web: Web, key: str = "x.jpg", host: str = "a.example.com", **how: Any) -> PipelineError:
    """Why an image cannot be read. It quotes no other exception, which might quote a query."""
    with pytest.raises(PipelineError) as caught:
        read(web, key, host, **how)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def redirect(to: str, status: str = "302 Found") -> bytes:
    """An answer that leads elsewhere."""
    return answer(status, b"elsewhere", Location=to)


def serving(folder: Path) -> Iterator[Web]:
    """For a fixture."""
    web = Web(*certified(folder, *NAMES))
    try:
        yield web
    finally:
        web.close()
