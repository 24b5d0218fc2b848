"""The answer to one request, on its way to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from workers.serve.admission.asgi import Message, Receive, Send
from workers.serve.admission.rates import Rates
from workers.serve.caller import Admitted

LINGER_S = 1.0
LINGER_BYTES = 1024 * 1024
"""How long, and for how many bytes, a refused body is read and dropped before the connection is
closed. If it were closed at once, a client that still sends would see a reset and no answer."""

Pairs = list[tuple[bytes, bytes]]


class Answer:
    """The ``send`` of an application, which adds what every answer carries.

    ``status`` is 0 until the answer has begun. ``on_event_stream`` is called when a stream of
    events begins.
    """

    def __init__(self, send: Send, admitted: Admitted, rates: Rates, request_id: bool) -> None:
        """``request_id``: whether the answer has the header ``x-request-id``."""
        self._send = send
        self._admitted = admitted
        self._rates = rates
        self._request_id = request_id
        self.status = 0
        self.on_event_stream: Callable[[], None] = lambda: None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: Pairs = list(message.get("headers", ()))
            if any(
                name == b"content-type" and kind.startswith(b"text/event-stream")
                for name, kind in headers
            ):
                self.on_event_stream()
            message["headers"] = headers + self._own()
        await self._send(message)

    async def refuse(
        self, status: int, headers: Mapping[str, str], body: bytes, unread: Receive | None
    ) -> None:
        """Answer at once. ``unread`` receives a body that is not wanted: the connection is closed
        after the answer, so that the client stops sending it."""
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        pairs.append((b"content-length", b"%d" % len(body)))
        if unread is not None:
            pairs.append((b"connection", b"close"))
        await self({"type": "http.response.start", "status": status, "headers": pairs})
        # The client has the whole answer now. The server closes once the last message is sent.
        more = unread is not None
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        if unread is not None:
            await _drop(unread)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _own(self) -> Pairs:
        caller, own = self._admitted.caller, []
        if self._request_id:
            own.append((b"x-request-id", self._admitted.request_id.encode()))
        if caller.rate is not None:
            own += self._rates.headers(caller.name, caller.rate)
        return own


async def _drop(receive: Receive) -> None:
    dropped = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while dropped < LINGER_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
