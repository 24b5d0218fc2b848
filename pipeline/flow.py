"""The life of one image: fetch, decode, encode, score. The only per-image code path."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Hashable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
from pydantic import Field

from pipeline.errors import Halt, Reject, ends_worker
from pipeline.metrics import QUEUE_DEPTH, STAGE_SECONDS
from pipeline.policy import Policy
from pipeline.ports import Clock, Decoder, Meter
from pipeline.priority import FIRST, Turns
from pipeline.records import (
    Classification,
    DeadLetter,
    DecodedImage,
    EmbeddingDtype,
    ImageGeometry,
    ImageRef,
    LabelSetResult,
    ModelIdentity,
    ObjectBody,
    Partition,
    Pixels,
    Vector,
)

log = logging.getLogger(__name__)


class FlowPolicy(Policy):
    """How much one worker holds at a time."""

    max_in_flight: int = Field(
        1024,
        description="References admitted and not yet committed; at the limit the worker pauses "
        "its partitions.",
        gt=0,
    )
    max_pending_mib: int = Field(
        256,
        description="MiB of outcomes that wait in memory for their commit; at the limit the "
        "worker pauses its partitions. What was admitted before comes on top.",
        gt=0,
    )


_HASHED_AT_ONCE_BYTES = 512 * 1024
"""More than this is hashed in a thread: a large object takes tens of milliseconds, in which nobody
else on the event loop would go on. hashlib leaves the interpreter to others meanwhile."""


class Fetching(Protocol):
    """The fetch stage: retries, deadlines and the breaker included. An object counts as held in
    memory until the block ends. ``source`` is where the reference comes from."""

    def fetch(
        self, ref: ImageRef, level: int = FIRST, source: Hashable = None
    ) -> AbstractAsyncContextManager[ObjectBody]: ...


class Encoding(Protocol):
    """The batcher in front of the encoder."""

    async def encode(self, pixels: Pixels, level: int = FIRST) -> Vector: ...


class Scoring(Protocol):
    """One version of the label sets, compiled for the model."""

    def score(self, names: tuple[str, ...], embedding: Vector) -> tuple[LabelSetResult, ...]: ...

    def unclassified_action(self, names: tuple[str, ...]) -> str: ...


class Flow:
    """Composes the stages."""

    def __init__(
        self,
        fetching: Fetching,
        decoder: Decoder,
        decode_turns: Turns,
        encoding: Encoding,
        *,
        model: ModelIdentity,
        geometry: ImageGeometry,
        decode_mode: str,
        decode_crop: str,
        embedding_dtype: EmbeddingDtype,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._fetching = fetching
        self._decoder = decoder
        self._decode_turns = decode_turns
        self._encoding = encoding
        self._model = model
        self._geometry = geometry
        self._decode_mode = decode_mode
        self._decode_crop = decode_crop
        self._dtype = np.dtype(embedding_dtype).newbyteorder("<")
        self._clock = clock
        self._meter = meter
        self._waiting = 0
        meter.set(QUEUE_DEPTH, 0, stage="decode")

    async def classify(
        self, ref: ImageRef, scoring: Scoring, level: int = FIRST
    ) -> Classification | DeadLetter:
        """One image from reference to outcome; every failure of the image is a dead letter.

        ``scoring`` are the label sets that were in force when the reference was routed; ``level``
        says who goes first at each stage (``pipeline.priority``).

        Raises:
            Halt: the worker must stop; the reference has no outcome.
            WorkerLost, MemoryError, OSError: this process cannot go on; the reference has no
                outcome.
            asyncio.CancelledError: the partition was revoked or the worker stops.
        """
        try:
            return await self._classify(ref, scoring, level)
        except Reject as reject:
            code, message, attempts = reject.code, reject.message, reject.attempts
            recognised = reject.format
        except Halt:
            raise
        except Exception as error:
            if ends_worker(error):
                raise
            # A defect of ours that one image brought out must not stop the others; the dead letter
            # can be replayed once it is mended.
            log.exception("%s: unexpected failure", ref.origin.position)
            code, message, attempts = "internal.unexpected", f"{type(error).__name__}: {error}", 1
            recognised = None
        return DeadLetter(
            ref.origin,
            code,
            message,
            attempts,
            ref=ref,
            unclassified_action=scoring.unclassified_action(ref.label_sets),
            format=recognised,
        )

    async def classifies(self, bodies: Iterable[bytes]) -> bool:
        """Whether known good images get through decode and encode, as the worker does both now.

        Raises:
            Halt, WorkerLost, MemoryError, OSError: as ``classify``.
        """
        try:
            for body in bodies:
                image = await self._decoder.decode(body, self._geometry)
                await self._encoding.encode(image.pixels)
        except Reject as reject:
            log.warning("an image known to be good fails: %s", reject.message)
            return False
        return True

    async def _classify(self, ref: ImageRef, scoring: Scoring, level: int) -> Classification:
        position = ref.origin.position
        source = Partition(position.topic, position.partition)
        async with self._fetching.fetch(ref, level, source) as fetched:
            started = self._clock.monotonic()
            try:
                image = await self._decode(fetched, level)
            except Reject:
                self._took("decode", started)
                raise
            self._took("decode", started)
            sha256 = await _sha256(fetched.body)
            size_bytes, etag, version_id = len(fetched.body), fetched.etag, fetched.version_id
            del fetched
        embedding = (await self._encoding.encode(image.pixels, level)).astype(self._dtype)
        started = self._clock.monotonic()
        # Scores come from the values that are published, so that anyone can derive them again.
        results = scoring.score(ref.label_sets, embedding.astype(np.float32, copy=False))
        self._took("score", started)
        return Classification(
            ref=ref,
            model=self._model,
            results=results,
            embedding=embedding,
            etag=etag,
            version_id=version_id,
            sha256=sha256,
            size_bytes=size_bytes,
            image=image,
            decode_mode=self._decode_mode,
            decode_crop=self._decode_crop,
        )

    async def _decode(self, fetched: ObjectBody, level: int) -> DecodedImage:
        self._wait(+1)
        try:
            await self._decode_turns.acquire(level)
        finally:
            self._wait(-1)
        try:
            return await self._decoder.decode(
                fetched.body, self._geometry, fetched.content_encoding
            )
        finally:
            self._decode_turns.release()

    def _wait(self, change: int) -> None:
        self._waiting += change
        self._meter.set(QUEUE_DEPTH, self._waiting, stage="decode")

    def _took(self, stage: str, started: float) -> None:
        self._meter.observe(STAGE_SECONDS, self._clock.monotonic() - started, stage=stage)


async def _sha256(body: bytes) -> str:
    if len(body) <= _HASHED_AT_ONCE_BYTES:
        return hashlib.sha256(body).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()
