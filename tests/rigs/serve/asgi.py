"""A gate before an application of the test, and requests as a server hands them over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.metrics import SERVE_REPLICA
from pipeline.ports import Clock
from tests.rigs.virtual_time import LoopClock
from workers.serve.admission.asgi import Message, Receive, Send
from workers.serve.admission.gate import Gate
from workers.serve.admission.key_file import KeyEntry, new_key
from workers.serve.admission.keys import Keys
from workers.serve.admission.memory import MemoryBudget
from workers.serve.admission.rates import Rates
from workers.serve.services import Services
from workers.serve.standing import Standing
from workers.settings.loading import Settings
from workers.settings.serve import ServePolicy

REST = "the connection stays open and nothing comes"
"""In the messages of a request: what follows never comes."""


def part(body: bytes, *, more: bool = False) -> Message:
    """A piece of a request's body."""
    return {"type": "http.request", "body": body, "more_body": more}


DISCONNECT: Message = {"type": "http.disconnect"}


@dataclass(slots=True)
class Answered:
    """What a server was told to send, and how many pieces of the request were received: in all, and
    before the answer began."""

    messages: list[Message] = field(default_factory=list)
    reads: int = 0
    reads_first: int = 0

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's object of an error."""
        return cast("dict[str, Any]", json.loads(self.body)["error"])


async def ok(scope: Message, receive: Receive, send: Send) -> None:
    """An application that reads the body and answers with it."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class GateBench:
    """A gate with its services. Time is the loop's."""

    def __init__(
        self,
        application: Callable[[Message, Receive, Send], Awaitable[None]] = ok,
        policy: ServePolicy | None = None,
        keys: Keys | None = None,
        clock: Clock | None = None,
        *,
        sets_request_id: bool = True,
    ) -> None:
        self.meter = MemoryMeter(SERVE_REPLICA)
        settings = Settings(serve=policy or ServePolicy())
        clock = clock or LoopClock()
        nothing = cast("Any", None)  # the gate uses none of these
        self.services = Services(
            settings=settings,
            model=nothing,
            images=nothing,
            prompts=nothing,
            rules=nothing,
            keys=keys,
            rates=Rates(clock),
            room=nothing,
            memory=MemoryBudget(settings.serve.max_memory_mib * 1024 * 1024, self.meter),
            standing=Standing(),
            live=nothing,
            cluster=nothing,
            clock=clock,
            meter=self.meter,
        )
        self.gate = Gate(application, self.services, sets_request_id=sets_request_id)

    async def ask(
        self,
        path: str = "/v1/classify",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        messages: Sequence[Message | str] = (part(b"an image"), REST),
    ) -> Answered:
        """Send a request. Its messages are received one after the other; after the last one the
        client disconnects."""
        answered = Answered()
        coming = list(messages)

        async def receive() -> Message:
            answered.reads += 1
            answered.reads_first += not answered.messages
            if coming and coming[0] == REST:
                await asyncio.Event().wait()
            return cast("Message", coming.pop(0)) if coming else DISCONNECT

        async def send(message: Message) -> None:
            answered.messages.append(message)

        scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [
                (name.lower().encode(), value.encode()) for name, value in (headers or {}).items()
            ],
        }
        await self.gate(scope, receive, send)
        return answered


def a_key(folder: Path, **fields: object) -> tuple[str, Path]:
    """A key, and a file that knows it."""
    key, key_id, hashed = new_key()
    entry = KeyEntry.model_validate({"id": key_id, "name": "shop", "sha256": hashed, **fields})
    file = folder / "keys"
    file.write_text(entry.line())
    return key, file


def bearer(key: str) -> dict[str, str]:
    """The header of a request with a key."""
    return {"authorization": f"Bearer {key}"}


def with_keys(
    file: Path,
    application: Callable[[Message, Receive, Send], Awaitable[None]] = ok,
    policy: ServePolicy | None = None,
) -> GateBench:
    """A gate that knows the keys of a file."""
    keys = Keys(file, LoopClock(), MemoryMeter(SERVE_REPLICA))
    return GateBench(application, policy, keys)


async def refused(bench: GateBench, headers: Mapping[str, str], path: str = "/v1/classify") -> str:
    """The code of a refusal that reads nothing of the body."""
    answered = await bench.ask(path, headers=headers)
    assert answered.reads_first == 0, "the body was read"
    return str(answered.error["code"])
