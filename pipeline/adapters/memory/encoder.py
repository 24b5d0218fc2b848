"""An encoder without a model: equal content gives equal vectors."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import Halt
from pipeline.ports import PromptTokens
from pipeline.records import ImageGeometry, ModelIdentity, Pixels, Vector

MAX_PROMPT_WORDS = 75  # CLIP's 77 tokens without the start and the end


class MemoryEncoder:
    """Implements ``pipeline.ports.Encoder``: a unit vector drawn from the content's checksum.

    Equal content gives equal bits in any batch. Different content gives independent directions,
    which say nothing about what an image shows.
    """

    def __init__(self, dimension: int = 64, crop: int = 224) -> None:
        self._model = ModelIdentity(
            name="memory",
            revision="1",
            dimension=dimension,
            logit_scale=100.0,
            precision="fp32",
            engine="memory",
        )
        self._geometry = ImageGeometry(resize=crop, crop=crop)

    @property
    def lanes(self) -> int:
        return 1

    @property
    def parallel(self) -> int:
        return 1

    @property
    def largest(self) -> int:
        return sys.maxsize

    @property
    def model(self) -> ModelIdentity:
        return self._model

    @property
    def geometry(self) -> ImageGeometry:
        return self._geometry

    @property
    def prompts(self) -> PromptTokens:
        return PromptTokens(_tokens, MAX_PROMPT_WORDS + 2)

    def encode_images(self, pixels: Pixels) -> Vector:
        side = self._geometry.crop
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
            raise Halt(
                "encode.wrong_shape",
                f"encode: pixels are {pixels.dtype} {list(pixels.shape)} against uint8 "
                f"[batch, {side}, {side}, 3]",
            )
        return self._vectors([image.tobytes() for image in pixels])

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        for prompt in prompts:
            words = len(prompt.split())
            if words > MAX_PROMPT_WORDS:
                raise Halt(
                    "model.prompt_too_long",
                    f"encode: prompt {prompt!r} has {words} words against {MAX_PROMPT_WORDS}; "
                    "shorten it",
                )
        return self._vectors([prompt.encode() for prompt in prompts])

    def _vectors(self, contents: Sequence[bytes]) -> Vector:
        vectors = np.empty((len(contents), self._model.dimension), dtype=np.float32)
        for row, content in zip(vectors, contents, strict=True):
            row[:] = np.random.default_rng(zlib.crc32(content)).standard_normal(len(row))
            row /= np.linalg.norm(row)
        return vectors


def _tokens(prompts: Sequence[str]) -> list[list[int]]:
    """A token for each word, between a start and an end."""
    return [[0, *(zlib.crc32(word.encode()) for word in prompt.split()), 1] for prompt in prompts]
