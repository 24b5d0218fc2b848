"""Stages that do next to nothing, or fail where a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.look import Look
from pipeline.ports import UNTRACED, ImageTrace, Meter
from pipeline.records import (
    DecodedImage,
    EmbeddingDtype,
    ImageFacts,
    ImageGeometry,
    ImageRef,
    LabelSetResult,
    Looked,
    ObjectBody,
    Pixels,
    Vector,
)
from pipeline.records.known import KnownMatch

EMBEDDING = np.array([0.1, 0.2, 0.3], np.float32)


def look_of(stages: Stages, meter: Meter, dtype: EmbeddingDtype = "float32") -> Look:
    """A look through the stages, with an encoder of 3 dimensions."""
    encoder = MemoryEncoder(dimension=3, crop=2)
    return Look(stages, stages, encoder, DecodePolicy(mode="fast"), dtype, SystemClock(), meter)


class Stages:
    """Every stage of the flow; ``failure`` is raised by the stage that it names."""

    def __init__(self, failing: str = "", failure: Exception | None = None) -> None:
        self._failing = failing
        self._failure = failure
        self.passed: list[str] = []
        self.content_encoding: str | None = None
        self.scored: list[npt.NDArray[np.floating]] = []
        self.body = b"bytes"
        self.fetched: list[tuple[int, Hashable]] = []

    def _pass(self, stage: str) -> None:
        self.passed.append(stage)
        if stage == self._failing and self._failure is not None:
            raise self._failure

    @contextlib.asynccontextmanager
    async def fetch(
        self, ref: ImageRef, level: int = 0, source: Hashable = None
    ) -> AsyncIterator[ObjectBody]:
        await asyncio.sleep(0)
        self.fetched.append((level, source))
        self._pass("fetch")
        yield ObjectBody(self.body, "e1", "v1", "gzip")
        self._pass("release")

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        await asyncio.sleep(0)
        self._pass("decode")
        self.content_encoding = content_encoding
        return DecodedImage(np.zeros((2, 2, 3), np.uint8), ImageFacts("PNG", 4, 3, 1, 0.25))

    async def close(self) -> None: ...

    async def encode(self, pixels: Pixels, level: int = 0, trace: ImageTrace = UNTRACED) -> Vector:
        self._pass("encode")
        return EMBEDDING

    async def encode_block(
        self, pixels: Pixels, level: int = 0, trace: ImageTrace = UNTRACED
    ) -> list[Vector | Reject]:
        return [await self.encode(each, level, trace) for each in pixels]

    def judge(
        self, names: tuple[str, ...], looked: Looked, known: Sequence[KnownMatch] = ()
    ) -> tuple[LabelSetResult, ...]:
        self.scored.append(looked.embedding)
        return tuple(LabelSetResult(name, "v", (), (), "allow") for name in names)

    def unheard(self, names: tuple[str, ...], known: Sequence[KnownMatch]) -> str | None:
        return None

    def unclassified_action(self, names: tuple[str, ...], known: Sequence[KnownMatch] = ()) -> str:
        return "quarantine"
