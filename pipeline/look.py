"""Bytes in, embedding out: what a worker does with an image, whatever kind of worker it is."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.metrics import STAGE_SECONDS
from pipeline.ports import UNTRACED, Clock, Decoder, Encoder, ImageTrace, Meter
from pipeline.priority import FIRST
from pipeline.records import DecodedImage, EmbeddingDtype, Looked, Pixels, Vector
from pipeline.records.views import LookedViews

_HASHED_AT_ONCE_BYTES = 512 * 1024
"""A larger file is hashed in a thread. Hashing a large object takes tens of milliseconds, which
would block the event loop; in a thread, hashlib releases the interpreter meanwhile."""


class Encoding(Protocol):
    """The batcher in front of the encoder."""

    async def encode(
        self, pixels: Pixels, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> Vector: ...

    async def encode_block(
        self, pixels: Pixels, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> list[Vector | Reject]: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoded file. The file's bytes are no longer needed."""

    image: DecodedImage
    sha256: str
    size_bytes: int


class Look:
    """Decodes, batches and encodes. Knows no store and no label set."""

    def __init__(
        self,
        decoder: Decoder,
        encoding: Encoding,
        encoder: Encoder,
        policy: DecodePolicy,
        dtype: EmbeddingDtype,
        clock: Clock,
        meter: Meter,
    ) -> None:
        """``encoding`` feeds ``encoder``, whose model and geometry are used here. ``dtype`` is the
        element type of the embeddings."""
        self._decoder = decoder
        self._encoding = encoding
        self._model = encoder.model
        self._geometry = encoder.geometry
        self._policy = policy
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._clock = clock
        self._meter = meter

    async def __call__(
        self, body: bytes, content_encoding: str | None = None, level: int = FIRST
    ) -> Looked:
        """One file from bytes to embedding. ``level`` says who goes first at each stage.

        Raises:
            Reject: any code of the stages ``decode`` and ``encode``.
            Halt: the worker must stop.
            WorkerLost, MemoryError, OSError: this process cannot go on.
        """
        return await self.encode(await self.decode(body, content_encoding, level), level)

    async def decode(
        self, body: bytes, content_encoding: str | None = None, level: int = FIRST
    ) -> Opened:
        """The first half. After it, whoever bounds memory can let go of the bytes."""
        started = self._clock.monotonic()
        try:
            image = await self._decoder.decode(body, self._geometry, content_encoding, level)
        except Reject:
            self._took("decode", started)
            raise
        self._took("decode", started)
        return Opened(image, await sha256_of(body), len(body))

    async def encode(
        self, opened: Opened, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> Looked:
        """The second half. Waiting here for others to fill the batch is not a failure. Views are
        encoded side by side. If one of them cannot be, the image cannot."""
        image, views = opened.image, None
        if image.views is None:
            vector = await self._encoding.encode(image.pixels, level, trace)
            embedding = vector.astype(self._dtype)
        else:
            rows = await self._encoding.encode_block(image.views.pixels, level, trace)
            embeddings = np.stack([_sound(row) for row in rows]).astype(self._dtype)
            embedding, views = embeddings[0], LookedViews(image.views.places, embeddings)
        return Looked(
            embedding,
            self._model,
            opened.image.facts,
            opened.sha256,
            opened.size_bytes,
            self._policy.mode,
            self._policy.crop,
            views,
            image.pdq,
        )

    def _took(self, stage: str, started: float) -> None:
        self._meter.observe(STAGE_SECONDS, self._clock.monotonic() - started, stage=stage)


def _sound(row: Vector | Reject) -> Vector:
    if isinstance(row, Reject):
        raise row
    return row


async def sha256_of(body: bytes) -> str:
    """The hash of a file's bytes, in lower-case hexadecimal."""
    if len(body) <= _HASHED_AT_ONCE_BYTES:
        return hashlib.sha256(body).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()
