"""An HTTP proxy that can fail: tests put it between a client and a real S3 server."""

from __future__ import annotations

import asyncio
import enum
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from workers.event_loop import EventLoopThread

CALL_S = 10.0
LATENCY_S = 0.2
DRIP_S = 0.05
"""Between two bytes of a body that drips."""
LOOPBACK = "127.0.0.1"


class Fault(enum.Enum):
    """What happens to one request."""

    LATENCY = "the answer comes late"
    RESET = "the connection is reset before the answer"
    LOST = "the server answers, and the connection is reset before the answer arrives"
    RESET_IN_BODY = "the connection is reset in the middle of the body"
    DRIP = "the body comes a byte at a time, slower than any deadline"
    SHORT = "the body is shorter than announced, then the connection ends"
    LONG_ANNOUNCED = "more bytes are announced than come, and the connection stays"
    NO_NUMBER = "the announced length is no number"
    FORBIDDEN = "403 AccessDenied"
    UNKNOWN_KEY_ID = "403 InvalidAccessKeyId"
    MISSING = "404 NoSuchKey"
    CONFLICT = "409 ConditionalRequestConflict"
    CHANGED = "412 PreconditionFailed"
    BROKEN = "500 InternalError"
    SLOW_DOWN = "503 SlowDown"


ANSWERS = {
    Fault.FORBIDDEN: ("403 Forbidden", "AccessDenied"),
    Fault.UNKNOWN_KEY_ID: ("403 Forbidden", "InvalidAccessKeyId"),
    Fault.MISSING: ("404 Not Found", "NoSuchKey"),
    Fault.CONFLICT: ("409 Conflict", "ConditionalRequestConflict"),
    Fault.CHANGED: ("412 Precondition Failed", "PreconditionFailed"),
    Fault.BROKEN: ("500 Internal Server Error", "InternalError"),
    Fault.SLOW_DOWN: ("503 Slow Down", "SlowDown"),
}
"""Faults that are answered without asking the server."""

_WITHOUT_BODY = (b"204", b"304")
"""Statuses of answers that end with their head."""

OF_WRITES = frozenset({Fault.LOST, Fault.CONFLICT})
"""Faults that only writes meet, or that matter to writes alone."""

OF_THE_BODY = frozenset(
    {Fault.RESET_IN_BODY, Fault.DRIP, Fault.SHORT, Fault.LONG_ANNOUNCED, Fault.NO_NUMBER}
)


@dataclass
class _Rule:
    """A fault of some keys, or of all; of each key's next ``times`` requests, or of all."""

    fault: Fault
    keys: frozenset[str] | None
    times: int | None
    met: Counter[str] = field(default_factory=Counter)

    def holds(self, key: str) -> bool:
        if self.keys is not None and key not in self.keys:
            return False
        return self.times is None or self.met[key] < self.times


class S3Proxy:
    """Hands requests and answers on byte for byte until told otherwise, so that signatures, which
    cover the ``Host`` header, stay valid. Buckets are in the path.

    On an event loop in a thread of its own; its methods may be called from any thread.
    """

    def __init__(self, target: str, latency_s: float = LATENCY_S) -> None:
        """``latency_s`` is how late an answer comes if it comes late."""
        self._target = urlsplit(target)
        self._latency_s = latency_s
        self._rules: list[_Rule] = []
        self._asked: Counter[str] = Counter()
        self._met: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        # Bound, and never listening: it keeps the port for us while connections are refused.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._loop = EventLoopThread("s3-proxy")

    def __enter__(self) -> Self:
        self._loop.submit(self._listen()).result(CALL_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.submit(self._end()).result(CALL_S)
        self._loop.close()
        self._reserved.close()

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def inject(self, fault: Fault, *keys: str, times: int | None = None) -> None:
        """Have the fault happen to these keys (none: to all), to each one's next ``times``
        requests or until ``heal``. Of several faults that hold the latest happens."""
        with self._lock:
            self._rules.insert(0, _Rule(fault, frozenset(keys) or None, times))

    def refuse(self) -> None:
        """Reset every connection and refuse new ones: the server's process is gone."""
        self._loop.submit(self._refuse()).result(CALL_S)

    def accept(self) -> None:
        """Accept connections again. Faults of keys stay."""
        self._loop.submit(self._listen()).result(CALL_S)

    def heal(self) -> None:
        """From now on everything is handed on."""
        with self._lock:
            self._rules.clear()
        self.accept()

    def met(self, fault: Fault) -> int:
        """Requests to which the fault has happened."""
        with self._lock:
            return self._met[fault]

    def asked(self, key: str | None = None) -> int:
        """Requests for the key so far, or all of them; refused connections bring none."""
        with self._lock:
            return self._asked.total() if key is None else self._asked[key]

    # -- on the loop ------------------------------------------------------------------------

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=_bound(self.port))

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in tuple(self._links):
            link.transport.abort()

    async def _end(self) -> None:
        await self._refuse()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        try:
            upstream, sink = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._links.add(sink)
            try:
                while await self._exchange(reader, writer, upstream, sink):
                    pass
            finally:
                self._links.discard(sink)
                sink.close()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._links.discard(writer)
            writer.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether another may follow."""
        request = await reader.readuntil(b"\r\n\r\n")
        if _header(request, b"expect") is not None:
            # The client asks before it sends a body. The header is not signed.
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request = _without(request, b"expect")
        body = await reader.readexactly(_length(request) or 0)
        fault = self._fault(_key(request))
        if fault is Fault.RESET:
            writer.transport.abort()
            return False
        if fault in ANSWERS:
            writer.write(_error(*ANSWERS[fault]))
            await writer.drain()
            return True
        if fault is Fault.LATENCY:
            await asyncio.sleep(self._latency_s)
        sink.write(request + body)
        await sink.drain()
        head = await upstream.readuntil(b"\r\n\r\n")
        answer = await upstream.readexactly(_length_of_answer(request, head))
        if fault is Fault.LOST:
            writer.transport.abort()
            return False
        if fault in OF_THE_BODY:
            await _spoil(fault, reader, writer, head, answer)
            return False
        writer.write(head + answer)
        await writer.drain()
        return True

    def _fault(self, key: str) -> Fault | None:
        with self._lock:
            self._asked[key] += 1
            for rule in self._rules:
                if rule.holds(key):
                    rule.met[key] += 1
                    self._met[rule.fault] += 1
                    return rule.fault
        return None


async def _spoil(
    fault: Fault,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    head: bytes,
    body: bytes,
) -> None:
    """Answer with what is wrong with the body; the connection cannot be used again."""
    announced = f"content-length: {len(body)}".encode()
    match fault:
        case Fault.LONG_ANNOUNCED:
            more = f"content-length: {len(body) + 1}".encode()
            writer.write(_replaced(head, announced, more) + body)
            await writer.drain()
            await reader.read()  # until the client has had enough
        case Fault.NO_NUMBER:
            writer.write(_replaced(head, announced, b"content-length: many") + body)
            await writer.drain()
        case Fault.DRIP:
            writer.write(head)
            for number in range(len(body)):
                writer.write(body[number : number + 1])
                await writer.drain()
                await asyncio.sleep(DRIP_S)
        case _:
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            if fault is Fault.RESET_IN_BODY:
                await asyncio.sleep(0)
                _reset(writer)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    # Lets two sockets of ours have the port, of which one listens.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    return bound


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset, after what was written: closing it would end it in order."""
    link: socket.socket = writer.get_extra_info("socket")
    no_lingering = b"\1\0\0\0\0\0\0\0"
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
    writer.transport.abort()


def _key(request: bytes) -> str:
    """The object's key, of ``GET /bucket/key?query HTTP/1.1``."""
    target = request.split(b" ", 2)[1].decode("ascii").partition("?")[0]
    return unquote(target).lstrip("/").partition("/")[2]


def _header(head: bytes, wanted: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == wanted:
            return value.strip()
    return None


def _without(head: bytes, unwanted: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(unwanted + b":"))


def _length(head: bytes) -> int | None:
    value = _header(head, b"content-length")
    return None if value is None else int(value)


def _length_of_answer(request: bytes, head: bytes) -> int:
    """Of what follows the head of an answer."""
    if request.startswith(b"HEAD ") or head.split(b" ", 2)[1] in _WITHOUT_BODY:
        return 0
    length = _length(head)
    if length is None:
        raise ConnectionError("this proxy hands on answers of a known length only")
    return length


def _replaced(head: bytes, line: bytes, by: bytes) -> bytes:
    lines = [by if each.lower() == line else each for each in head.split(b"\r\n")]
    if by not in lines:
        raise ConnectionError("the answer's length is not where it was looked for")
    return b"\r\n".join(lines)


def _error(status: str, code: str) -> bytes:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()
