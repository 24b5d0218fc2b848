"""Images of requests, from what a request gives to what the model sees."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import Code, PipelineError, Reject, Retry, StoreDenied, ends_worker
from pipeline.fetch.attempt import Attempts
from pipeline.look import Look, Opened, sha256_of
from pipeline.metrics import FETCHED_BYTES, STAGE_SECONDS
from pipeline.ports import Meter
from pipeline.records import ImageRef, Looked, ObjectBody
from workers.serve.admission.memory import Hold
from workers.serve.caller import Admitted
from workers.serve.errors import ApiError

log = logging.getLogger(__name__)

RETRY_S = 0.1
"""Wait before the second attempt to read an object, unless the store asks for a longer one."""


@dataclass(slots=True)
class Inline:
    """An image whose bytes are in the request.

    ``copied`` says that the bytes are not the body's own, so that they take memory beside it. The
    bytes can be taken once: nothing keeps them after they were decoded. ``sha256`` is their hash,
    known once somebody has looked at them.
    """

    body: bytes
    copied: bool = False
    sha256: str | None = None

    def take(self) -> bytes:
        body, self.body = self.body, b""
        return body


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


Failure = Reject | Retry
"""Why one image could not be looked at: with Retry, another request may succeed."""


class Images:
    """Looks at images. Belongs to one event loop."""

    def __init__(self, look: Look, attempts: Attempts, meter: Meter, deadline_s: float) -> None:
        """``deadline_s`` is the time in which a request is answered. No object is asked for again
        in its second half."""
        self._look = look
        self._attempts = attempts
        self._clock = attempts.clock
        self._meter = meter
        self._deadline_s = deadline_s

    async def seen_all(self, images: Sequence[Given], admitted: Admitted) -> list[Seen | Failure]:
        """Each image, or why it could not be looked at, in order. Counts in ``admitted`` what was
        looked at.

        Raises:
            ApiError: 429: there is no room for the images in memory.
            Overloaded: there is no room before the model.
            Halt, WorkerLost, MemoryError, OSError: this replica cannot go on.

        Nothing of the request goes on then.
        """
        share = _Share(admitted.memory)
        for image in images:
            if isinstance(image, Inline) and image.copied:
                share.hold(len(image.body))
        if len(images) == 1:
            return [await self._outcome(images[0], admitted, share)]
        tasks = [asyncio.create_task(self._outcome(each, admitted, share)) for each in images]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _outcome(self, image: Given, admitted: Admitted, share: _Share) -> Seen | Failure:
        try:
            seen = await self._seen(image, admitted, share)
        except (Reject, Retry) as failure:
            admitted.count(Code.stage(failure.code))
            return _bare(failure)
        except (PipelineError, ApiError):
            raise
        except Exception as error:
            if ends_worker(error):
                raise
            # A defect of ours that one image brought out must not fail the other images.
            log.exception("an image of request %s failed unexpectedly", admitted.request_id)
            admitted.count("internal")
            return Reject(
                "internal.unexpected",
                "the server failed on this image; its log says more, under the request id",
            )
        admitted.count("seen")
        admitted.images += 1
        admitted.image_bytes += seen.looked.size_bytes
        return seen

    async def _seen(self, image: Given, admitted: Admitted, share: _Share) -> Seen:
        level = admitted.caller.level
        etag = version_id = None
        if isinstance(image, Inline):
            opened = await self._decoded(image, level, share)
        else:
            opened, etag, version_id = await self._read(image.ref, admitted, share)
        return Seen(await self._look.encode(opened, level), etag, version_id)

    async def _decoded(self, image: Inline, level: int, share: _Share) -> Opened:
        body = image.take()
        try:
            opened = await self._look.decode(_some(body), None, level)
        except Reject:
            image.sha256 = await sha256_of(body)
            raise
        else:
            image.sha256 = opened.sha256
            return opened
        finally:
            if image.copied:
                share.let_go(len(body))

    async def _read(
        self, ref: ImageRef, admitted: Admitted, share: _Share
    ) -> tuple[Opened, str | None, str | None]:
        """The decoded object, its ETag and its version."""
        if not admitted.caller.may_see(ref.bucket, ref.key, ref.scheme):
            raise Reject(
                "fetch.bucket_not_allowed",
                f"the key {admitted.caller.name!r} may not read {ref.uri}; ask for a key that may",
            )
        room = _ObjectRoom(share, self._attempts.policy.max_bytes)
        try:
            fetched = await self._fetched(ref, room)
            room.fit(len(fetched.body))
            opened = await self._look.decode(
                fetched.body, fetched.content_encoding, admitted.caller.level
            )
            return opened, fetched.etag, fetched.version_id
        finally:
            room.let_go()

    async def _fetched(self, ref: ImageRef, room: _ObjectRoom) -> ObjectBody:
        begun = self._clock.monotonic()
        try:
            fetched = await self._attempts.read(ref, room.take)
        except StoreDenied as denied:
            # The store denies an object that does not exist, too, where nobody may list its bucket.
            # A client must not ask again and again.
            raise Reject(denied.code, denied.message) from None
        except Retry as failure:
            room.let_go()
            wait_s = max(RETRY_S, failure.retry_after_s or 0)
            if self._clock.monotonic() - begun + wait_s > self._deadline_s / 2:
                raise
            await self._clock.sleep(wait_s)
            fetched = await self._attempts.read(ref, room.take)
        self._meter.observe(STAGE_SECONDS, self._clock.monotonic() - begun, stage="fetch")
        self._meter.add(FETCHED_BYTES, len(fetched.body))
        return fetched


class _Share:
    """What the images of one request hold of the memory for requests."""

    def __init__(self, memory: Hold) -> None:
        self._memory = memory
        self._images = 0
        self._freed = asyncio.Event()

    def hold(self, size_bytes: int) -> None:
        """Hold bytes that are in memory already.

        Raises:
            ApiError: 429: there is no room.
        """
        self._memory.take(size_bytes)
        self._images += 1

    async def take(self, size_bytes: int) -> None:
        """Hold bytes that are about to come. Without room for them, the image waits for the other
        images of its request.

        Raises:
            ApiError: 429: there is no room, and the request has no other image in memory.
        """
        while True:
            try:
                self.hold(size_bytes)
            except ApiError:
                if not self._images:
                    raise
            else:
                return
            self._freed.clear()
            await self._freed.wait()

    def let_go(self, size_bytes: int) -> None:
        self._memory.release(size_bytes)
        self._images -= 1
        self._freed.set()

    def shrink(self, by_bytes: int) -> None:
        """Hold less for an image that is still in memory."""
        self._memory.release(by_bytes)
        self._freed.set()


class _ObjectRoom:
    """The memory that one object takes."""

    def __init__(self, share: _Share, most_bytes: int) -> None:
        self._share = share
        self._most_bytes = most_bytes
        self._bytes: int | None = None

    async def take(self, size_bytes: int | None = None) -> None:
        """Hold what the store announces, or what an object may have at most."""
        wanted = self._most_bytes if size_bytes is None else size_bytes
        await self._share.take(wanted)
        self._bytes = wanted

    def fit(self, size_bytes: int) -> None:
        """Hold what really came."""
        if self._bytes is not None and size_bytes < self._bytes:
            self._share.shrink(self._bytes - size_bytes)
            self._bytes = size_bytes

    def let_go(self) -> None:
        """Hold nothing. Idempotent."""
        if self._bytes is not None:
            self._share.let_go(self._bytes)
            self._bytes = None


def _some(body: bytes) -> bytes:
    if not body:
        raise Reject("fetch.empty", "the image has no bytes; send its file")
    return body


def _bare(failure: Failure) -> Failure:
    """The failure without its traceback, whose frames hold the image's bytes."""
    failure.__context__ = failure.__cause__ = None
    return failure.with_traceback(None)
