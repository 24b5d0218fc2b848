"""The gate before the application: decides whether a request is read at all. Pure ASGI."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from workers.serve.caller import ANYBODY, Admitted
from workers.serve.errors import ApiError
from workers.serve.services import Services

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


PROBES = ("/healthz", "/readyz")


async def refuse(send: Send) -> None:
    """Answer that the replica ends."""
    told = ApiError(503, "draining", "the server ends; ask another one", retry_after_s=1.0)
    headers = {"content-type": "application/json", **told.headers()}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": told.status, "headers": encoded})
    await send({"type": "http.response.body", "body": told.body(uuid.uuid4().hex)})


class Gate:
    """Admits requests to an application."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._services = services

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if self._services.standing.draining and scope["path"] not in PROBES:
            await refuse(send)
            return
        hold = self._services.memory.hold()
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["admitted"] = Admitted(ANYBODY, request_id, hold)
        try:
            await self._application(scope, receive, send)
        finally:
            hold.give_back()
