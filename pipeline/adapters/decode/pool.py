"""Decodes images in a pool of confined child processes.

The parent's side: it never loads an image library, and trusts nothing that a child says. What the
children may not do is in ``confinement``; what the arrangement does not protect against, in
docs/decoding.md.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from pathlib import Path
from typing import Final

from pipeline.adapters.decode.process import DecodeProcess
from pipeline.adapters.decode.wire import ChildConfig, Death, ProtocolViolation, Reply, Verdict
from pipeline.adapters.processors import available_processors
from pipeline.decode.codings import codings_of
from pipeline.decode.crop import Crop
from pipeline.decode.policy import MAX_DEFAULT_PROCESSES, DecodePolicy
from pipeline.decode.signatures import FORMATS
from pipeline.errors import CODES, Halt, Reject, is_exhaustion
from pipeline.metrics import DECODER_RESTARTS, QUEUE_DEPTH
from pipeline.ports import Meter
from pipeline.priority import FIRST, Turns
from pipeline.records import DecodedImage, ImageFacts, ImageGeometry, Pixels

CHILD_PROGRAM: Final = Path(__file__).with_name("child.py")

IMAGES_PER_PROCESS: Final = 5_000
"""Images after which a child is replaced: a leak in a decoder, or an intruder in it, lasts no
longer. A start costs about 0.2 s of CPU, 0.04 ms an image."""

START_DEADLINE_S: Final = 60.0
"""Seconds in which a child must be ready; 0.2 on an idle machine."""

MAX_FILE_BYTES: Final = 32 * 2**20
"""The default of ``fetch.max_bytes``, for those who fetch nothing."""

_PUNCTUAL_S: Final = 1.0
"""A deadline noticed later than this says that the worker was frozen or starved, not that the
image was slow."""

logger = logging.getLogger(__name__)


class SandboxedDecoder:
    """The ``Decoder`` of the product: Pillow, one image at a time in each of several children.

    Lives in one event loop, of any thread. That thread must last as long as the decoder: Linux
    kills the children when the *thread* that started them ends. ``start`` it before use, ``close``
    it when done.

    ``program`` is what the children run; tests bring their own. ``max_file_bytes`` bounds a file
    once its content codings are undone; ``min_share`` is the share of turns that each level of
    lower priority gets in any case.
    """

    def __init__(
        self,
        policy: DecodePolicy,
        meter: Meter,
        program: Path = CHILD_PROGRAM,
        *,
        max_file_bytes: int = MAX_FILE_BYTES,
        min_share: float = 0.0,
    ) -> None:
        self._policy = policy
        self._max_file_bytes = max_file_bytes
        self._meter = meter
        self._program = program
        self._processes = policy.processes or min(MAX_DEFAULT_PROCESSES, available_processors())
        self._turns = Turns(self._processes, min_share)
        self._waiting = 0
        meter.set(QUEUE_DEPTH, 0, stage="decode")
        self._idle: list[DecodeProcess] = []
        self._living: set[DecodeProcess] = set()
        self._none_living = asyncio.Event()
        self._none_living.set()
        self._warned = False
        self._closed = False

    @property
    def processes(self) -> int:
        """How many images are decoded at once."""
        return self._processes

    async def start(self) -> None:
        """Start all children, so that the first images need not wait for them.

        Raises:
            Halt: ``decode.unavailable``, with what the child said; the decoder is closed then.
            OSError: as ``decode``; the decoder is closed then.
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
        """Decode one image in the next free child. Waiting for one has no deadline.

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
                f"{geometry.resize} is impossible; look at the model's preprocessor_config.json",
            )
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
        except _Died as died:
            if died.death.final:
                raise _reject(died.death) from None
        # Once more, in a process without a past.
        try:
            return await self._attempt(await self._spawn(), body, geometry, codings)
        except _Died as died:
            raise _reject(died.death) from None

    async def close(self) -> None:
        """End all children and wait for their end. Idempotent; a ``decode`` still under way ends
        with ``Halt``."""
        self._closed = True
        while self._idle:
            self._bury(self._idle.pop())
        # Those at work are buried by who waits for their answer, and sees them end.
        for child in self._living:
            child.process.kill()
        await self._none_living.wait()

    async def _attempt(
        self,
        child: DecodeProcess,
        body: bytes,
        geometry: ImageGeometry,
        codings: tuple[str, ...],
    ) -> DecodedImage:
        """Have a child decode an image; keep the child only if it answered in full."""
        intact = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._policy.deadline_s
        try:
            async with asyncio.timeout_at(deadline):
                reply, payload = await child.ask(body, geometry, codings)
            intact = True
        except TimeoutError:
            limit = f"decode.deadline_s = {self._policy.deadline_s:g}"
            self._mourn(child, f"killed after {limit}")
            if loop.time() - deadline > _PUNCTUAL_S:
                # We were stopped ourselves, and the answer may have waited for us all along.
                death = Death("decode.timeout", final=False, cause="this process was stalled")
                raise _Died(death) from None
            raise Reject(
                "decode.timeout",
                f"decode: {len(body)} bytes were not decoded within {limit}; "
                f"{CODES['decode.timeout'].remedy}",
            ) from None
        except ProtocolViolation:
            death = Death("decode.crashed", final=False, cause="broke the protocol")
            self._mourn(child, death.cause)
            raise _Died(death) from None
        except ConnectionError:
            # Killing what has died already does not change how it died.
            death = Death.of(await asyncio.shield(self._bury(child)))
            self._halt_if_closed()
            self._mourn(child, death.cause)
            raise _Died(death) from None
        finally:
            if intact and child.served < IMAGES_PER_PROCESS and not self._closed:
                self._idle.append(child)
            else:
                self._bury(child)
        return self._outcome(reply, payload, geometry)

    def _outcome(self, reply: Reply, payload: Pixels, geometry: ImageGeometry) -> DecodedImage:
        if reply.verdict != Verdict.DECODED:
            text = payload.tobytes().decode("utf-8", "replace")
            printable = "".join(each if each.isprintable() else "?" for each in text)
            code = f"decode.{reply.verdict.name.lower()}"
            unsupported = reply.verdict == Verdict.UNSUPPORTED_FORMAT
            named = FORMATS[reply.format_index] if unsupported else None
            raise Reject(code, f"decode: {printable}", format=named)
        crop = Crop.of(reply.width, reply.height, geometry.resize, geometry.crop)
        facts = ImageFacts(
            format=self._policy.formats[reply.format_index],
            width=reply.width,
            height=reply.height,
            frames=reply.frames,
            cropped_share=crop.cropped_share,
        )
        return DecodedImage(payload.reshape(geometry.crop, geometry.crop, 3), facts)

    async def _prestart(self) -> None:
        self._idle.append(await self._spawn())

    async def _take(self) -> DecodeProcess:
        """An idle child that still lives, the one used last first; else a new one."""
        while self._idle:
            child = self._idle.pop()
            if child.process.poll() is None:
                return child
            self._mourn(child, f"died idle, {Death.of(child.process.returncode).cause}")
            self._bury(child)
        return await self._spawn()

    async def _spawn(self) -> DecodeProcess:
        """Start a child and wait until it is ready."""
        self._halt_if_closed()
        try:
            child = DecodeProcess.launch(self._program, self._config())
        except OSError as error:
            if is_exhaustion(error):
                raise  # A worker started anew may have what this one lacks.
            raise _unavailable(str(error)) from error
        self._living.add(child)
        self._none_living.clear()
        intact = stalled = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_DEADLINE_S
        try:
            async with asyncio.timeout_at(deadline):
                filtered = await child.ready()
            self._halt_if_closed()
            intact = True
        except TimeoutError:
            # As in _attempt: it may have been ready all along.
            stalled = loop.time() - deadline > _PUNCTUAL_S
            if not stalled:
                raise _unavailable(f"not ready within {START_DEADLINE_S:g} s") from None
        except ConnectionError:
            self._halt_if_closed()
            raise _unavailable(child.last_words() or "it ended without a word") from None
        finally:
            if not intact:
                self._bury(child)
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
            memory_bytes=self._policy.max_memory_bytes,
            image_memory_bytes=self._policy.max_pixels * self._policy.bytes_per_pixel,
            image_cpu_s=self._policy.deadline_s,
            # More than all its images together may use: only an intruder gets there.
            lifetime_cpu_s=IMAGES_PER_PROCESS * math.ceil(self._policy.deadline_s),
            parent_pid=os.getpid(),
        )

    def _bury(self, child: DecodeProcess) -> asyncio.Task[int]:
        """End a child, if it lives, and see it off; the task's result is its return code."""
        if child.burial is None:
            child.burial = asyncio.create_task(child.end())
            child.burial.add_done_callback(lambda _: self._forget(child))
        return child.burial

    def _forget(self, child: DecodeProcess) -> None:
        self._living.discard(child)
        if not self._living:
            self._none_living.set()

    def _mourn(self, child: DecodeProcess, cause: str) -> None:
        self._meter.add(DECODER_RESTARTS)
        logger.warning("decode: process %d is replaced (%s)", child.process.pid, cause)

    def _halt_if_closed(self) -> None:
        if self._closed:
            raise Halt("decode.closed", "decode: the decoder has been closed")


class _Died(Exception):
    """A child ended while it held an image."""

    def __init__(self, death: Death) -> None:
        super().__init__(death)
        self.death = death


def _reject(death: Death) -> Reject:
    tries = "" if death.final else ", twice"
    return Reject(
        death.code,
        f"decode: the decoder died on this file{tries} ({death.cause}); {CODES[death.code].remedy}",
    )


def _unavailable(reason: str) -> Halt:
    said = reason.removeprefix("RuntimeError: ")
    if said.startswith("decode.formats: "):  # a child's own words, which say what to do
        return Halt("decode.unavailable", said)
    return Halt(
        "decode.unavailable",
        f"decode: no decoder process can be started ({reason}); check that Pillow is installed "
        "whole, and decode.max_memory_mib and the limits on processes and memory",
    )
