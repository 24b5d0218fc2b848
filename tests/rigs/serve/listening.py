"""The application on a port of loopback, for clients that open connections of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import SERVE_REPLICA
from pipeline.ports import Encoder
from tests.rigs.serve.application import served
from workers.serve.admission.asgi import Application
from workers.serve.app import build_app
from workers.serve.services import Services
from workers.serve.wiring import serving
from workers.settings.loading import Settings

START_S = 60.0
"""The decoder's processes start first."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that answers at ``url``, which has no path."""

    url: str
    services: Services

    @property
    def openai_url(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.url}/v1"


@contextmanager
def listening(
    settings: Settings | None = None,
    encoder: Encoder | None = None,
    *,
    changed: Callable[[Services], Services] = lambda services: services,
    around: Callable[[Application, Services], Application] = lambda application, _: application,
) -> Iterator[Listening]:
    """A server in a thread of its own. ``changed`` may put something else into its services, and
    ``around`` something in front of the application."""
    answering: Future[Listening] = Future()
    stopping: Future[Callable[[], None]] = Future()

    async def serve() -> None:
        meter = PrometheusMeter(SERVE_REPLICA)
        async with serving(settings or served(), encoder or MemoryEncoder(), meter) as given:
            services = changed(given)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                config = uvicorn.Config(
                    around(build_app(services), services),
                    lifespan="off",
                    log_config=None,
                    ws="none",
                )
                server = _Server(config)
                stopping.set_result(server.stop)
                port = listener.getsockname()[1]
                server.when_started = lambda: answering.set_result(
                    Listening(f"http://127.0.0.1:{port}", services)
                )
                await server.serve([listener])

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if answering.done():
                raise
            answering.set_exception(error)

    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        yield answering.result(START_S)
    finally:
        if stopping.done():
            stopping.result()()
        thread.join(START_S)


class _Server(uvicorn.Server):
    when_started: Callable[[], Any]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.when_started()

    def stop(self) -> None:
        self.should_exit = True
