"""Headers with which a client could change what Ray Serve does with its request. They are dropped
before Ray Serve reads the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.middleware import Middleware

INTERNAL = frozenset(
    (
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"x-session-id",
        b"serve_multiplexed_model_id",
    )
)


class WithoutInternalHeaders:
    """Pure ASGI."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if "headers" in scope:
            kept = [each for each in scope["headers"] if each[0].lower() not in INTERNAL]
            scope["headers"] = kept
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Ray Serve in each process that accepts requests."""
    return [Middleware(WithoutInternalHeaders)]
