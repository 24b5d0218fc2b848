"""Clients that ask a server again and again while something is wrong with it."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """So many ``clients``. Each waits ``pause_s`` between an answer and the next request. The first
    requests of two clients are ``apart_s`` apart."""

    clients: int
    pause_s: float = 0.0
    apart_s: float = 0.0


@contextlib.contextmanager
def clients(ask: Callable[[], object], pace: Pace) -> Iterator[None]:
    """Ask during the block. A request without an answer is no error: a fault may take answers away.

    Raises:
        Exception: what else ``ask`` has raised, at the end of the block.
    """
    stopping = threading.Event()

    def client(number: int) -> None:
        stopping.wait(number * pace.apart_s)
        while not stopping.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                ask()
            stopping.wait(pace.pause_s)

    with ThreadPoolExecutor(pace.clients, "client") as pool:
        asking = [pool.submit(client, number) for number in range(pace.clients)]
        try:
            yield
        finally:
            stopping.set()
    for each in asking:
        each.result()
