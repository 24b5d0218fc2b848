"""Trials that show whose fault failures are: the worker's own stages are run on images known to be
good."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol

from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.decode.policy import ImageFormat
from pipeline.errors import Reject
from pipeline.priority import BEFORE_ALL, FIRST
from workers.event_loop import EventLoopThread

log = logging.getLogger(__name__)


class Looking(Protocol):
    """See ``pipeline.look.Look``."""

    async def __call__(
        self, body: bytes, content_encoding: str | None = None, level: int = FIRST
    ) -> object: ...


class Readable(Protocol):
    """The part of a fetcher that knows which buckets can be read."""

    async def reads_from(self, bucket: str) -> bool: ...


class StageTrials:
    """Implements ``workers.stream.commit_gate.Trials`` on the event loop where images live."""

    def __init__(
        self,
        look: Looking,
        readable: Readable,
        loop: EventLoopThread,
        formats: Iterable[ImageFormat],
    ) -> None:
        """``formats`` are the formats whose bundled image must succeed."""
        self._look = look
        self._readable = readable
        self._loop = loop
        self._good_images = [GOOD_IMAGES[each] for each in formats]

    def good_images(self) -> Future[bool]:
        """Whether the bundled images pass decode and encode in the worker's own stages now. They
        wait behind no other image: the worker's commits wait for them.

        The future raises the errors that end a worker (``pipeline.look.Look``).
        """
        return self._loop.submit(self._all_seen())

    def bucket(self, bucket: str) -> Future[bool]:
        return self._loop.submit(self._readable.reads_from(bucket))

    async def _all_seen(self) -> bool:
        try:
            for body in self._good_images:
                await self._look(body, level=BEFORE_ALL)
        except Reject as reject:
            log.warning("an image known to be good fails: %s", reject.message)
            return False
        return True
