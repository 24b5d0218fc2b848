"""Reading a request's body: bounded, and counted as it arrives."""

from __future__ import annotations

from workers.serve.admission.asgi import Receive
from workers.serve.admission.memory import Hold
from workers.serve.errors import ApiError


class Gone(Exception):
    """The client has closed the connection."""


async def read_body(receive: Receive, hold: Hold, most: int, length: int | None) -> bytes:
    """The whole body. ``hold`` takes its bytes as they arrive, so a slow client costs only what it
    has sent. ``length`` is the length that the client has declared.

    Raises:
        ApiError: 413: more than ``most`` bytes. 429: there is no room. 400: the length is another.
        Gone: the client has closed the connection.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        if part:
            size += len(part)
            if size > most:
                raise too_large(size, most)
            hold.take(len(part))
            parts.append(part)
        if not message.get("more_body", False):
            break
    if length is not None and size != length:
        raise ApiError(
            400,
            "body_incomplete",
            f"the body has {size} bytes and its Content-Length says {length}; send it whole",
        )
    return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(size: int, most: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"the body has {size} bytes or more, and {most} are allowed (serve.max_body_bytes); send "
        "fewer or smaller images",
    )
