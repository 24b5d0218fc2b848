"""Images for people: whole, small, and as new files without anything else of the old ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pipeline.errors import Reject
from pipeline.fetch.attempt import Attempts
from pipeline.records import DecodedImage, ImageRef, Pixels
from workers.serve.caller import Admitted
from workers.serve.live.outcome import may_see_images

AT_ONCE = 2
"""Pictures that are made at a time. Each holds a whole file in memory."""


class Whole(Protocol):
    """Decodes whole pictures, isolated as ``pipeline.ports.Decoder`` is."""

    async def whole(
        self, body: bytes, edge: int, content_encoding: str | None = None, level: int = 0
    ) -> DecodedImage:
        """Pixels [height, width, 3], the longest edge at most ``edge`` pixels."""


class Pictures:
    """Belongs to one event loop. ``as_jpeg`` makes a file of pixels, and may block."""

    def __init__(
        self, attempts: Attempts, decoder: Whole, as_jpeg: Callable[[Pixels], bytes]
    ) -> None:
        self._attempts = attempts
        self._decoder = decoder
        self._as_jpeg = as_jpeg
        self._places = asyncio.Semaphore(AT_ONCE)

    async def picture(self, ref: ImageRef, edge: int, admitted: Admitted) -> bytes:
        """A JPEG of the whole image, at most ``edge`` pixels wide and high.

        Raises:
            Reject: the image is at fault, or the caller may not see it, with the codes of dead
                letters.
            Retry: its store is; another request may succeed.
            ApiError: 429: there is no room for the image in memory.
            Halt, WorkerLost: this replica cannot go on.
        """
        caller = admitted.caller
        if not (may_see_images(caller) and caller.may_see(ref.bucket, ref.key, ref.scheme)):
            raise Reject(
                "fetch.bucket_not_allowed",
                f"the key {caller.name!r} may not see {ref.uri}; ask for a key whose patterns of "
                "objects admit it",
            )
        limit = self._attempts.policy.max_bytes
        async with self._places:
            admitted.memory.take(limit)  # how many bytes will come is not known yet
            try:
                fetched = await self._attempts.read(ref)
                # Whoever waits for a classification goes first.
                decoded = await self._decoder.whole(
                    fetched.body, edge, fetched.content_encoding, caller.level + 1
                )
            finally:
                admitted.memory.release(limit)
            return await asyncio.to_thread(self._as_jpeg, decoded.pixels)
