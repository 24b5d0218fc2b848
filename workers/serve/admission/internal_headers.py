"""Headers by which Ray Serve's own parts talk to each other, and which no client may send.

A client's ``x-request-timeout-seconds: 0`` switches Serve's timeout off, and
``x-request-disconnect-disabled: ?1`` the cancellation of requests whose client has gone.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from workers.serve.admission.asgi import Application, Message, Receive, Send

INTERNAL = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"x-session-id",
        b"serve_multiplexed_model_id",
    }
)


def drop_internal(scope: Message) -> None:
    """Remove these headers from a request, whatever their case."""
    headers = scope["headers"]
    if any(name.lower() in INTERNAL for name, _ in headers):
        scope["headers"] = [pair for pair in headers if pair[0].lower() not in INTERNAL]


class DropInternalHeaders:
    """The same as a middleware, to be run by Serve's proxy before Serve reads the headers."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            drop_internal(scope)
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Ray Serve in each process that accepts requests."""
    return [Middleware(DropInternalHeaders)]
