"""A TCP proxy that can fail: tests put it between a client and its server."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from workers.event_loop import EventLoopThread

CHUNK_BYTES = 64 * 1024
CALL_S = 10.0


class ProxyLoop:
    """The event loop, in a thread of its own, that proxies run on."""

    def __init__(self) -> None:
        self._loop = EventLoopThread("proxies")
        self._proxies: list[TcpProxy] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async def end() -> None:
            for proxy in self._proxies:
                proxy.close()

        self._loop.submit(end()).result(CALL_S)
        self._loop.close()

    def proxy(self, port: int, target: int) -> TcpProxy:
        """Listen on ``port`` of the loopback address; hand on to ``target`` on the same."""
        proxy = TcpProxy(self._loop, port, target)
        self._loop.submit(proxy.listen()).result(CALL_S)
        self._proxies.append(proxy)
        return proxy


class TcpProxy:
    """Hands bytes on in both directions until told otherwise. ``cut``, ``stall``, ``delay``,
    ``break_answers`` and ``heal`` may be called from any thread, and take effect a moment later."""

    def __init__(self, loop: EventLoopThread, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._loop = loop
        self._links: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_s = 0.0
        self._breaks = 0

    def cut(self) -> None:
        """Reset every connection, and each new one at once: the server's host is gone."""
        self._loop.call_soon(self._cut)

    def stall(self) -> None:
        """Keep connections, accept new ones, hand nothing on: packets are lost."""
        self._loop.call_soon(self._flowing.clear)

    def delay(self, seconds: float) -> None:
        """Hand everything on so much later: each way, and each piece by itself."""
        self._loop.call_soon(self._set_delay, seconds)

    def break_answers(self, times: int) -> None:
        """Reset the connection in the middle of each of the next answers."""
        self._loop.call_soon(self._set_breaks, times)

    @property
    def breaks_left(self) -> int:
        """Answers that are still to be broken."""
        return self._breaks

    def heal(self) -> None:
        self._loop.call_soon(self._heal)

    # -- on the loop ------------------------------------------------------------------------

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut()

    def _cut(self) -> None:
        self._refusing = True
        for link in tuple(self._links):
            link.transport.abort()

    def _heal(self) -> None:
        self._refusing = False
        self._flowing.set()
        self._set_delay(0.0)
        self._set_breaks(0)

    def _set_delay(self, seconds: float) -> None:
        self._delay_s = seconds

    def _set_breaks(self, times: int) -> None:
        self._breaks = times

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            upstream, sink = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, sink}
        try:
            await asyncio.gather(
                self._pump(reader, sink), self._pump(upstream, writer, answers=True)
            )
        finally:
            for link in (writer, sink):
                self._links.discard(link)
                link.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await source.read(CHUNK_BYTES):
                await self._flowing.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if answers and self._breaks:
                    self._breaks -= 1
                    sink.write(chunk[: len(chunk) // 2])
                    await sink.drain()
                    sink.transport.abort()
                    break
                sink.write(chunk)
                await sink.drain()
        # One direction's end ends both: no protocol here half-closes.
        sink.close()
