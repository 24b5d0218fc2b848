"""The process that misuses connections: `python -m tests.benchmarks.serve.hostile`, with port,
number of connections, seconds, and key.

Each connection is of one kind of ``KINDS`` in turn. One that the server ends is opened anew, so
that the number stays. Prints a line of JSON once all have been opened, and another at the end: how
often each kind was opened, and what it was answered: status, content type, and how the body begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

OPENING = 200
"""Connections that are being opened at a time."""
TRICKLE_S = 1.0
PAUSE_S = 1.0
"""Before a connection that has ended is opened anew."""
PATH = "/v1/classify"
FIRST = 24
"""Bytes of an answer's body that are noted: enough to tell whose answer it is."""
HUGE = 10**11
CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Kind = Callable[[Reader, Writer], Awaitable[None]]


def _head(*fields: str) -> bytes:
    lines = (
        f"POST {PATH} HTTP/1.1",
        "host: clipstream",
        f"authorization: Bearer {sys.argv[4]}",
        "content-type: image/jpeg",
        *fields,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def silent(reader: Reader, writer: Writer) -> None:
    """Sends nothing."""


async def half_head(reader: Reader, writer: Writer) -> None:
    """Sends half a head, and no more."""
    writer.write(_head()[:40])


async def slow_head(reader: Reader, writer: Writer) -> None:
    """Sends a head, a byte a second."""
    await _trickled(writer, b"POST / HTTP/1.1\r\nx-slow: " + b"a" * 10_000)


async def half_body(reader: Reader, writer: Writer) -> None:
    """Promises a body, and sends half of it."""
    writer.write(_head("content-length: 20000") + bytes(10_000))


async def slow_body(reader: Reader, writer: Writer) -> None:
    """Sends a body, a byte a second."""
    writer.write(_head("content-length: 100000"))
    await _trickled(writer, bytes(100_000))


async def oversized(reader: Reader, writer: Writer) -> None:
    """Promises more than any server takes, and begins to send it."""
    writer.write(_head(f"content-length: {HUGE}") + bytes(100_000))


async def endless_chunks(reader: Reader, writer: Writer) -> None:
    """Sends chunks for ever, as fast as they are taken."""
    writer.write(_head("transfer-encoding: chunked"))
    while True:
        writer.write(CHUNK)
        await writer.drain()
        await asyncio.sleep(0.05)


async def bad_chunks(reader: Reader, writer: Writer) -> None:
    """Sends a chunk whose length is none."""
    writer.write(_head("transfer-encoding: chunked") + b"what\r\n")


async def two_lengths(reader: Reader, writer: Writer) -> None:
    """Sends a length and chunks: where a request ends is unclear."""
    writer.write(_head("content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\nG")


async def short_length(reader: Reader, writer: Writer) -> None:
    """Sends more than it promised."""
    writer.write(_head("content-length: 10") + bytes(5_000))


async def wrong_type(reader: Reader, writer: Writer) -> None:
    """Sends no image as one."""
    writer.write(_head("content-length: 5000") + b"no image " * 555 + b"12345")


KINDS: tuple[Kind, ...] = (
    silent,
    half_head,
    slow_head,
    half_body,
    slow_body,
    oversized,
    endless_chunks,
    bad_chunks,
    two_lengths,
    short_length,
    wrong_type,
)


async def _trickled(writer: Writer, data: bytes) -> None:
    for each in data:
        writer.write(bytes([each]))
        await writer.drain()
        await asyncio.sleep(TRICKLE_S)


async def _answer(reader: Reader) -> str:
    """Status, content type and first bytes of the body of an answer, or that there was none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        return f"ended within {ended.partial[:FIRST]!r}" if ended.partial else "closed"
    status, *fields = head.decode("latin-1").split("\r\n")
    named = dict(field.lower().split(": ", 1) for field in fields if ": " in field)
    body = await reader.read(FIRST)
    return f"{status[9:12]} {named.get('content-type', 'no type')} {body!r}"


class Attack:
    """Keeps so many connections open until a moment."""

    def __init__(self, port: int, number: int, seconds: float) -> None:
        self._port, self._number, self._seconds = port, number, seconds
        self._opening = asyncio.Semaphore(OPENING)
        self._opened: Counter[str] = Counter()
        self._answers: dict[str, Counter[str]] = {each.__name__: Counter() for each in KINDS}
        self._open_now = 0
        self._all = asyncio.Event()

    async def run(self) -> None:
        tasks = [
            asyncio.ensure_future(self._again(KINDS[number % len(KINDS)]))
            for number in range(self._number)
        ]
        begun = time.monotonic()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all.wait(), self._seconds)
        self._tell({"open": self._open_now, "took_s": round(time.monotonic() - begun, 1)})
        await asyncio.sleep(self._seconds)
        self._tell({"opened": self._opened, "answers": self._answers, "open": self._open_now})
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, kind: Kind) -> None:
        while True:
            with contextlib.suppress(OSError):
                await self._once(kind)
            await asyncio.sleep(PAUSE_S)

    async def _once(self, kind: Kind) -> None:
        async with self._opening:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        name = kind.__name__
        self._opened[name] += 1
        self._open_now += 1
        if self._open_now == self._number or self._opened.total() == self._number:
            self._all.set()
        sending = asyncio.ensure_future(kind(reader, writer))
        try:
            self._answers[name][await _answer(reader)] += 1
            while await reader.read(65_536):
                pass
        finally:
            self._open_now -= 1
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()

    @staticmethod
    def _tell(what: Mapping[str, object]) -> None:
        print(json.dumps(what), flush=True)


def main() -> None:
    port, number, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    attack = Attack(port, number, seconds)
    asyncio.run(attack.run())


if __name__ == "__main__":
    main()
