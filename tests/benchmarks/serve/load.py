"""The process that sends requests: `python -m tests.benchmarks.serve.load SPEC OUTPUT`.

Closed load keeps a number of requests in flight: of those that are answered 429, the next one waits
as the answer says, as OpenAI's clients do. Open load sends at random moments of a rate,
whatever becomes of the requests before, as people do; a request's time then counts from the moment
at which it was due.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from workers.embedded.processes import command_environment

Ask = Callable[[float], Coroutine[Any, Any, float]]

SEED = 7
REQUEST_S = 60.0
"""A request that is not answered within this time counts with the status 0."""
LIMIT = 2**22
"""Most bytes of an answer's head, and of one line of it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: the bodies of these files in turn, to one path.

    ``concurrency`` is the number of requests in flight, or the most of them with a ``rate``, in
    requests a second. What is sent in the first ``warm_s`` seconds does not count.
    """

    port: int
    path: str
    content_type: str
    bodies: Sequence[str]
    seconds: float
    warm_s: float = 0.0
    concurrency: int = 1
    rate: float | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: when its request was due, in seconds since the load began to count; how long it
    took; its status, 0 without an answer."""

    at: float
    took_s: float
    status: int


@dataclass(frozen=True, slots=True)
class Answers:
    """All of one load that count. ``seconds`` is how long it counted, ``asked`` how many requests
    were sent with those that do not count."""

    answers: Sequence[Answer]
    seconds: float
    asked: int

    def of(self, *statuses: int) -> Self:
        found = [each for each in self.answers if each.status in statuses]
        return type(self)(found, self.seconds, self.asked)

    @property
    def rate(self) -> float:
        """Answers a second, of requests that ended while the load counted."""
        ended = sum(0 <= each.at + each.took_s <= self.seconds for each in self.answers)
        return ended / self.seconds

    def between(self, begin_s: float, end_s: float) -> float:
        """Answers a second of those that came within a part of the time."""
        ended = sum(begin_s <= each.at + each.took_s < end_s for each in self.answers)
        return ended / (end_s - begin_s)

    def took_s(self, share: float) -> float:
        """The time within which a share of them came."""
        times = sorted(each.took_s for each in self.answers)
        if not times:
            return float("nan")
        return times[min(len(times) - 1, int(share * len(times)))]

    @property
    def statuses(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for each in self.answers:
            counts[each.status] = counts.get(each.status, 0) + 1
        return dict(sorted(counts.items()))


class Sending:
    """A load being sent by a process of its own."""

    def __init__(self, load: Load, folder: Path) -> None:
        self._output = folder / f"answers-{time.monotonic_ns()}.json"
        command = [sys.executable, "-m", __name__, json.dumps(asdict(load)), str(self._output)]
        self._process = subprocess.Popen(command, env=command_environment())
        self._limit_s = load.warm_s + load.seconds + 2 * REQUEST_S

    def answers(self) -> Answers:
        """Waits for the end of the load."""
        try:
            if self._process.wait(self._limit_s) != 0:
                raise RuntimeError("the process that sends requests has failed")
        finally:
            self._process.kill()
            self._process.wait()
        found = json.loads(self._output.read_text())
        answers = [Answer(*each) for each in found["answers"]]
        return Answers(answers, found["seconds"], found["asked"])


def send(load: Load, folder: Path) -> Answers:
    """Send a load, to its end."""
    return Sending(load, folder).answers()


class _Connections:
    """Connections to the server, each with at most one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        head = [
            f"POST {load.path} HTTP/1.1",
            f"host: 127.0.0.1:{load.port}",
            f"content-type: {load.content_type}",
            *(f"{name}: {value}" for name, value in load.headers.items()),
        ]
        self._head = "\r\n".join(head).encode()

    async def ask(self, body: bytes) -> tuple[int, float]:
        """The status of the answer, 0 without one; and how long to wait before the next request."""
        connection = None
        try:
            async with asyncio.timeout(REQUEST_S):
                connection = self._idle.pop() if self._idle else await self._connected()
                reader, writer = connection
                writer.write(self._head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                status, keeps, wait_s = await _answer(reader)
        except (OSError, EOFError, TimeoutError):
            if connection is not None:
                connection[1].close()
            return 0, 0.0
        if keeps:
            self._idle.append(connection)
        else:
            writer.close()
        return status, wait_s

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._load.port, limit=LIMIT)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool, float]:
    """The status, whether the connection can be used again, and how long to wait first."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(None, 2)[1])
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    fields = {name: value.strip() for name, _, value in lines}
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(fields.get(b"content-length", b"0")))
    wait_s = float(fields.get(b"retry-after-ms", b"0")) / 1000
    return status, fields.get(b"connection") != b"close", wait_s


async def _sent(load: Load, bodies: Iterator[bytes]) -> Answers:
    connections = _Connections(load)
    answers: list[Answer] = []
    begun = time.monotonic() + load.warm_s
    end = begun + load.seconds

    async def ask(due: float) -> float:
        status, wait_s = await connections.ask(next(bodies))
        answers.append(Answer(due - begun, time.monotonic() - due, status))
        return wait_s

    if load.rate is None:
        await asyncio.gather(*(_in_turn(ask, end) for _ in range(load.concurrency)))
    else:
        await _at_moments(ask, load.rate, load.concurrency, end)
    connections.close()
    return Answers([each for each in answers if each.at >= 0], load.seconds, len(answers))


async def _in_turn(ask: Ask, end: float) -> None:
    while (now := time.monotonic()) < end:
        if wait_s := await ask(now):
            await asyncio.sleep(wait_s)


async def _at_moments(ask: Ask, rate: float, most: int, end: float) -> None:
    tasks: set[asyncio.Task[float]] = set()
    for due in _moments(rate, time.monotonic()):
        if due >= end:
            break
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if len(tasks) >= most:
            raise RuntimeError(f"more than {most} requests are in flight; is the server stuck?")
        task = asyncio.ensure_future(ask(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


def _moments(rate: float, begin: float) -> Iterator[float]:
    rng = random.Random(SEED)
    due = begin
    while True:
        due += rng.expovariate(rate)
        yield due


def main() -> None:
    load = Load(**json.loads(sys.argv[1]))
    bodies = itertools.cycle([Path(name).read_bytes() for name in load.bodies])
    sent = asyncio.run(_sent(load, bodies))
    told = {
        "answers": [(each.at, each.took_s, each.status) for each in sent.answers],
        "seconds": sent.seconds,
        "asked": sent.asked,
    }
    Path(sys.argv[2]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
