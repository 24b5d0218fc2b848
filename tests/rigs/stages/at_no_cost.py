"""A store, a decoder and an encoder that cost nothing: what is measured is everything else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.decode.policy import DecodePolicy
from pipeline.ports import Meter, PromptTokens
from pipeline.records import (
    DecodedImage,
    ImageFacts,
    ImageGeometry,
    ModelIdentity,
    ObjectBody,
    Pixels,
    Vector,
)

CROP_PX = 224
DIMENSION = 512


class NullDecoder:
    """Always the same pixels, at once."""

    def __init__(
        self,
        policy: DecodePolicy,
        meter: Meter,
        *,
        max_file_bytes: int,
        min_share: float,
        pdq: bool = False,
    ) -> None:
        pixels = np.full((CROP_PX, CROP_PX, 3), 127, np.uint8)
        self._image = DecodedImage(pixels, ImageFacts("JPEG", 640, 480, 1, 0.25))

    async def start(self) -> None: ...

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        return self._image

    async def close(self) -> None: ...


class NullEncoder:
    """Always the same embedding, at once."""

    def __init__(self) -> None:
        self._texts = MemoryEncoder(dimension=DIMENSION, crop=CROP_PX)
        self._vector = self._texts.encode_texts(["an image"])

    @property
    def model(self) -> ModelIdentity:
        return self._texts.model

    @property
    def prompts(self) -> PromptTokens:
        return self._texts.prompts

    @property
    def lanes(self) -> int:
        return self._texts.lanes

    @property
    def parallel(self) -> int:
        return self._texts.parallel

    @property
    def largest(self) -> int:
        return self._texts.largest

    @property
    def geometry(self) -> ImageGeometry:
        return self._texts.geometry

    def encode_images(self, pixels: Pixels) -> Vector:
        return np.broadcast_to(self._vector, (len(pixels), DIMENSION))

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        return self._texts.encode_texts(prompts)


class FixedTimeEncoder(NullEncoder):
    """Takes the same time for every batch, however full."""

    def __init__(self, batch_s: float) -> None:
        super().__init__()
        self._batch_s = batch_s

    def encode_images(self, pixels: Pixels) -> Vector:
        time.sleep(self._batch_s)
        return super().encode_images(pixels)


class NullStore:
    """Implements ``pipeline.ports.ObjectStore``: every object is there, at once."""

    def __init__(self, policy: object) -> None: ...

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: Callable[[], Awaitable[None]],
    ) -> ObjectBody:
        await on_answer()
        return ObjectBody(b"image", "etag", None)

    async def close(self) -> None: ...
