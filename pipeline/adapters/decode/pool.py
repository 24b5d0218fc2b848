"""Decodes images in a pool of confined child processes.

This is the parent's side. It never loads an image library, and trusts nothing that a child says.
``confinement`` says what the children may not do; docs/decoding.md says what this does not protect
against.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.adapters.decode.ending import Ended, reject, unavailable
from pipeline.adapters.decode.process import DecodeProcess
from pipeline.adapters.decode.wire import (
    WHOLE,
    ChildConfig,
    ChildEnd,
    ProtocolViolation,
    Reply,
    Verdict,
    seen_size,
)
from pipeline.adapters.processors import available_processors
from pipeline.decode.codings import codings_of
from pipeline.decode.policy import MAX_DEFAULT_PROCESSES, DecodePolicy
from pipeline.decode.signatures import FORMATS
from pipeline.decode.views import unseen_share
from pipeline.errors import CODES, Halt, Reject, is_exhaustion
from pipeline.metrics import DECODER_RESTARTS, QUEUE_DEPTH
from pipeline.ports import Meter
from pipeline.priority import FIRST, Turns
from pipeline.records import DecodedImage, ImageFacts, ImageGeometry, Pixels
from pipeline.records.known import PdqHash
from pipeline.records.views import DecodedViews, View

CHILD_PROGRAM: Final = Path(__file__).with_name("child.py")

IMAGES_PER_PROCESS: Final = 5_000
"""Images after which a child is replaced, so that a leak in a decoder, or an intruder in it, lasts
no longer. A start costs about 0.2 s of CPU, which is 0.04 ms for each image."""

START_DEADLINE_S: Final = 60.0
"""Seconds within which a child must be ready. On an idle machine it takes 0.2 s."""

MAX_FILE_BYTES: Final = 32 * 2**20
"""For callers that fetch nothing: the default of ``fetch.max_bytes``, as a test asserts."""

_PUNCTUAL_S: Final = 1.0
"""If a deadline is noticed later than this, the worker was frozen or starved, and the image was not
slow."""

logger = logging.getLogger(__name__)


class SandboxedDecoder:
    """The product's ``Decoder``: Pillow, one image at a time in each of several children.

    Belongs to one event loop, of any thread. That thread must last as long as the decoder, because
    Linux kills the children when the *thread* that started them ends. Call ``start`` before use and
    ``close`` when done.

    ``program`` is what the children run; tests use their own. ``max_file_bytes`` bounds a file once
    its content codings are undone. ``min_share`` is the share of turns that each lower priority
    level always gets. ``pdq``: images come with their PDQ hash.
    """

    def __init__(
        self,
        policy: DecodePolicy,
        meter: Meter,
        program: Path = CHILD_PROGRAM,
        *,
        max_file_bytes: int = MAX_FILE_BYTES,
        min_share: float = 0.0,
        pdq: bool = False,
    ) -> None:
        self._policy = policy
        self._pdq = pdq
        self._max_file_bytes = max_file_bytes
        self._meter = meter
        self._program = program
        self._processes = policy.processes or min(MAX_DEFAULT_PROCESSES, available_processors())
        self._turns = Turns(self._processes, min_share)
        self._waiting = 0
        meter.set(QUEUE_DEPTH, 0, stage="decode")
        self._idle: list[DecodeProcess] = []
        self._running: set[DecodeProcess] = set()
        self._none_running = asyncio.Event()
        self._none_running.set()
        self._warned = False
        self._closed = False

    @property
    def processes(self) -> int:
        """How many images are decoded at a time."""
        return self._processes

    async def start(self) -> None:
        """Start all children, so that the first images need not wait for them.

        Raises:
            Halt: ``decode.unavailable``, with the child's message; the decoder is then closed.
            OSError: as ``decode``; the decoder is then closed.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                for _ in range(self._processes):
                    starting.create_task(self._prestart())
        except ExceptionGroup as group:
            await self.close()
            raise group.exceptions[0] from None

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = FIRST,
    ) -> DecodedImage:
        """Decode one image in the next free child. Waiting for a free child has no deadline.

        May be cancelled at any point: the child at work is killed.

        Raises:
            Reject: any code of the ``decode`` stage.
            Halt: ``decode.unavailable``: no child can be started; ``decode.closed``: closed before
                or meanwhile; ``decode.geometry``: the square does not fit the resized image.
            OSError: this process has no memory, file descriptors or processes left for a child.
        """
        if not 1 <= geometry.crop <= geometry.resize:
            raise Halt(
                "decode.geometry",
                f"decode: a square of {geometry.crop} pixels out of an image resized to "
                f"{geometry.resize} is impossible; check the model's preprocessor_config.json",
            )
        return await self._in_turn(body, geometry, content_encoding, level)

    async def whole(
        self,
        body: bytes,
        edge: int,
        content_encoding: str | None = None,
        level: int = FIRST,
    ) -> DecodedImage:
        """As ``decode``, but the whole picture, for people: pixels [height, width, 3], of which the
        longest edge has at most ``edge`` pixels. Nothing is cropped.

        Raises:
            Reject, Halt, OSError: as ``decode``.
        """
        return await self._in_turn(body, ImageGeometry(edge, WHOLE), content_encoding, level)

    async def _in_turn(
        self, body: bytes, geometry: ImageGeometry, content_encoding: str | None, level: int
    ) -> DecodedImage:
        codings = codings_of(content_encoding)
        await self._turn(level)
        try:
            return await self._decode(body, geometry, codings)
        finally:
            self._turns.release()

    async def _turn(self, level: int) -> None:
        self._wait(+1)
        try:
            await self._turns.acquire(level)
        finally:
            self._wait(-1)

    def _wait(self, change: int) -> None:
        self._waiting += change
        self._meter.set(QUEUE_DEPTH, self._waiting, stage="decode")

    async def _decode(
        self, body: bytes, geometry: ImageGeometry, codings: tuple[str, ...]
    ) -> DecodedImage:
        try:
            return await self._attempt(await self._take(), body, geometry, codings)
        except Ended as ended:
            if ended.end.final:
                raise reject(ended.end) from None
        # Once more, in a fresh process.
        try:
            return await self._attempt(await self._spawn(), body, geometry, codings)
        except Ended as ended:
            raise reject(ended.end) from None

    async def close(self) -> None:
        """End all children and wait for their end. Idempotent. A ``decode`` in progress ends with
        ``Halt``."""
        self._closed = True
        while self._idle:
            self._discard(self._idle.pop())
        # A child at work is discarded by the task that waits for its answer and sees it end.
        for child in self._running:
            child.process.kill()
        await self._none_running.wait()

    async def _attempt(
        self,
        child: DecodeProcess,
        body: bytes,
        geometry: ImageGeometry,
        codings: tuple[str, ...],
    ) -> DecodedImage:
        """Let a child decode an image. Keep the child only if it answered in full."""
        intact = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._policy.deadline_s
        try:
            async with asyncio.timeout_at(deadline):
                reply, payload = await child.ask(body, geometry, codings)
            intact = True
        except TimeoutError:
            limit = f"decode.deadline_s = {self._policy.deadline_s:g}"
            self._note_replacement(child, f"killed after {limit}")
            if loop.time() - deadline > _PUNCTUAL_S:
                # This process was stopped, and the answer may have been there in time.
                end = ChildEnd("decode.timeout", final=False, cause="this process was stalled")
                raise Ended(end) from None
            raise Reject(
                "decode.timeout",
                f"decode: {len(body)} bytes were not decoded within {limit}; "
                f"{CODES['decode.timeout'].remedy}",
            ) from None
        except ProtocolViolation:
            end = ChildEnd("decode.crashed", final=False, cause="broke the protocol")
            self._note_replacement(child, end.cause)
            raise Ended(end) from None
        except ConnectionError:
            # Killing an ended process does not change how it ended.
            end = ChildEnd.of(await asyncio.shield(self._discard(child)))
            self._halt_if_closed()
            self._note_replacement(child, end.cause)
            raise Ended(end) from None
        finally:
            if intact and child.served < IMAGES_PER_PROCESS and not self._closed:
                self._idle.append(child)
            else:
                self._discard(child)
        return self._outcome(reply, payload, geometry)

    def _outcome(self, reply: Reply, payload: Pixels, geometry: ImageGeometry) -> DecodedImage:
        if reply.verdict != Verdict.DECODED:
            text = payload.tobytes().decode("utf-8", "replace")
            printable = "".join(each if each.isprintable() else "?" for each in text)
            code = f"decode.{reply.verdict.name.lower()}"
            unsupported = reply.verdict == Verdict.UNSUPPORTED_FORMAT
            named = FORMATS[reply.format_index] if unsupported else None
            raise Reject(code, f"decode: {printable}", format=named)
        asked = (reply.width, reply.height, geometry.resize, geometry.crop)
        width, height = seen_size(*asked)
        pixels = payload.reshape(-1, height, width, 3)
        facts = ImageFacts(
            format=self._policy.formats[reply.format_index],
            width=reply.width,
            height=reply.height,
            frames=reply.frames,
            cropped_share=0.0,
        )
        if geometry.crop == WHOLE:
            return DecodedImage(pixels[0], facts)
        squares = self._policy.viewing.squares(*asked, self._policy.crop)
        facts = replace(
            facts, cropped_share=unseen_share(squares), frames_seen=len(pixels) // len(squares)
        )
        pdq = None if reply.pdq is None else PdqHash(*reply.pdq)
        if len(pixels) == 1:
            return DecodedImage(pixels[0], facts, pdq=pdq)
        frames = self._policy.viewing.frames(reply.frames, len(squares))
        places = tuple(
            View("tile" if place else "centre", frame, *square.box)
            for frame in frames
            for place, square in enumerate(squares)
        )
        # Frames behind one that could not be decoded are missing.
        return DecodedImage(pixels[0], facts, DecodedViews(places[: len(pixels)], pixels), pdq)

    async def _prestart(self) -> None:
        self._idle.append(await self._spawn())

    async def _take(self) -> DecodeProcess:
        """A running idle child, the last used first; else a new one."""
        while self._idle:
            child = self._idle.pop()
            if child.process.poll() is None:
                return child
            self._note_replacement(
                child, f"ended while idle, {ChildEnd.of(child.process.returncode).cause}"
            )
            self._discard(child)
        return await self._spawn()

    async def _spawn(self) -> DecodeProcess:
        """Start a child and wait until it is ready."""
        self._halt_if_closed()
        try:
            child = DecodeProcess.launch(self._program, self._config())
        except OSError as error:
            if is_exhaustion(error):
                raise  # A new worker may have what this one lacks.
            raise unavailable(str(error)) from error
        self._running.add(child)
        self._none_running.clear()
        intact = stalled = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_DEADLINE_S
        try:
            async with asyncio.timeout_at(deadline):
                filtered = await child.ready()
            self._halt_if_closed()
            intact = True
        except TimeoutError:
            # As in _attempt: the child may have been ready in time.
            stalled = loop.time() - deadline > _PUNCTUAL_S
            if not stalled:
                raise unavailable(f"not ready within {START_DEADLINE_S:g} s") from None
        except ConnectionError:
            self._halt_if_closed()
            raise unavailable(child.last_line() or "it ended without a message") from None
        finally:
            if not intact:
                self._discard(child)
        if stalled:
            return await self._spawn()
        if not filtered and not self._warned:
            self._warned = True
            logger.warning(
                "decode: this kernel or processor filters no system calls; a hijacked decoder "
                "could read files and reach the network (see docs/decoding.md)"
            )
        return child

    def _config(self) -> ChildConfig:
        return ChildConfig(
            formats=self._policy.formats,
            max_file_bytes=self._max_file_bytes,
            max_pixels=self._policy.max_pixels,
            reject_animations=self._policy.animations == "reject",
            fast=self._policy.mode == "fast",
            centring=self._policy.crop,
            max_views=self._policy.viewing.most,
            max_unseen=self._policy.viewing.max_unseen,
            memory_bytes=self._policy.max_memory_bytes,
            image_memory_bytes=self._policy.max_pixels * self._policy.bytes_per_pixel,
            image_cpu_s=self._policy.deadline_s,
            # More than all its images together may use, so only an intruder reaches it.
            lifetime_cpu_s=IMAGES_PER_PROCESS * math.ceil(self._policy.deadline_s),
            parent_pid=os.getpid(),
            pdq=self._pdq,
        )

    def _discard(self, child: DecodeProcess) -> asyncio.Task[int]:
        """End a child, if it still runs, and drop it. The task's result is the return code."""
        if child.ending is None:
            child.ending = asyncio.create_task(child.end())
            child.ending.add_done_callback(lambda _: self._forget(child))
        return child.ending

    def _forget(self, child: DecodeProcess) -> None:
        self._running.discard(child)
        if not self._running:
            self._none_running.set()

    def _note_replacement(self, child: DecodeProcess, cause: str) -> None:
        self._meter.add(DECODER_RESTARTS)
        logger.warning("decode: process %d is replaced (%s)", child.process.pid, cause)

    def _halt_if_closed(self) -> None:
        if self._closed:
            raise Halt("decode.closed", "decode: the decoder has been closed")
