"""The process that ``between`` measures: a whole stream worker, but for its decoder and model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.decode.policy import DecodePolicy
from pipeline.ports import Encoder, Meter
from pipeline.records import (
    DecodedImage,
    ImageFacts,
    ImageGeometry,
    ModelIdentity,
    Pixels,
    Vector,
)
from tests.benchmarks import counted_worker
from workers import stages
from workers.settings.loading import Settings

CROP_PX = 224
DIMENSION = 512


class NullDecoder:
    """Always the same pixels, at once."""

    def __init__(
        self, policy: DecodePolicy, meter: Meter, *, max_file_bytes: int, min_share: float
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


def null_encoder(settings: Settings) -> Encoder:
    return NullEncoder()


def main() -> None:
    vars(stages).update(SandboxedDecoder=NullDecoder)
    counted_worker.main(null_encoder)


if __name__ == "__main__":
    main()
