"""Images of requests, from what a request gives to what the model sees."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pipeline.errors import Reject
from pipeline.fetch.attempt import Attempts
from pipeline.look import Look
from pipeline.records import ImageRef, Looked
from workers.serve.caller import Admitted


@dataclass(frozen=True, slots=True)
class Inline:
    """An image whose bytes are in the request."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Located:
    """An image that the request names."""

    ref: ImageRef


Given = Inline | Located


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that was looked at. ``etag`` and ``version_id`` are those of the object that was
    read; None for bytes of the request."""

    looked: Looked
    etag: str | None = None
    version_id: str | None = None


class Images:
    """Looks at images. Belongs to one event loop."""

    def __init__(self, look: Look, attempts: Attempts) -> None:
        self._look = look
        self._attempts = attempts

    async def seen(self, image: Given, admitted: Admitted) -> Seen:
        """Read, decode and encode one image.

        Raises:
            Reject: the image is at fault, with the codes of dead letters.
            Retry: its store is; another request may succeed.
            ApiError: 429: there is no room for the image in memory.
            Overloaded: there is no room before the model.
            Halt, WorkerLost: this replica cannot go on.
        """
        level = admitted.caller.level
        if isinstance(image, Inline):
            if not image.body:
                raise Reject("fetch.empty", "the image has no bytes; send its file")
            looked = await self._look(image.body, None, level)
            admitted.image_bytes += len(image.body)
            return Seen(looked)
        ref = image.ref
        if not admitted.caller.may_see(ref.bucket, ref.key):
            raise Reject(
                "fetch.bucket_not_allowed",
                f"the key {admitted.caller.name!r} may not read {ref.uri}; ask for a key that may",
            )
        limit = self._attempts.policy.max_bytes
        admitted.memory.take(limit)  # how many bytes will come is not known yet
        try:
            fetched = await self._attempts.read(ref)
            looked = await self._look(fetched.body, fetched.content_encoding, level)
        finally:
            admitted.memory.release(limit)
        admitted.image_bytes += len(fetched.body)
        return Seen(looked, fetched.etag, fetched.version_id)

    async def seen_all(self, images: list[Given], admitted: Admitted) -> list[Seen | BaseException]:
        """Each image, or its failure, in order."""
        return await asyncio.gather(
            *(self.seen(image, admitted) for image in images), return_exceptions=True
        )
