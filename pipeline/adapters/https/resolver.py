"""Asks for the addresses of a host, in threads of its own: a slow name server must not take the
event loop's threads, which other parts of the worker need."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_THREADS = 16

Lookup = Callable[..., list[tuple[Any, ...]]]
"""As ``socket.getaddrinfo``."""


class Resolver(AbstractResolver):
    """``lookup`` is called in a thread, as ``socket.getaddrinfo`` is by asyncio."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="https-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            OSError: the host has none, or no name server answers.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: self._lookup(
                host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            ),
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
