"""A batcher with time, device and metrics in a test's hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import Pixels, Vector

SIDE = 4
DEADLINE_S = 20


class GatedEncoder(MemoryEncoder):
    """Records its batches; each waits at the gate, which a test may shut."""

    def __init__(self) -> None:
        super().__init__(dimension=8, crop=SIDE)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []
        self.threads: set[threading.Thread] = set()
        self.error: Exception | None = None

    def encode_images(self, pixels: Pixels) -> Vector:
        self.batches.append([int(image[0, 0, 0]) for image in pixels])
        self.threads.add(threading.current_thread())
        self.entered.set()
        assert self.gate.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        return super().encode_images(pixels)


def image(number: int) -> Pixels:
    return np.full((SIDE, SIDE, 3), number, dtype=np.uint8)


def vector_of(number: int) -> Vector:
    vector: Vector = MemoryEncoder(dimension=8, crop=SIDE).encode_images(image(number)[None])[0]
    return vector


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def advance(clock: HandClock, seconds: float) -> None:
    """Time goes by, and nobody is overtaken."""
    await settle()
    clock.now += seconds
    await settle()


async def encoding(encoder: GatedEncoder) -> None:
    assert await asyncio.to_thread(encoder.entered.wait, DEADLINE_S)
    encoder.entered.clear()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def within_the_deadline() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scenario

    asyncio.run(within_the_deadline())


def batcher_of(
    encoder: MemoryEncoder,
    *,
    max_size: int = 4,
    max_wait_s: float = 1.0,
    max_waiting: int | None = None,
) -> tuple[Batcher, HandClock, MemoryMeter]:
    clock, meter = HandClock(), MemoryMeter(IMAGE_METRICS)
    policy = BatchPolicy(max_size=max_size, max_wait_s=max_wait_s)
    return Batcher(encoder, policy, clock, meter, max_waiting=max_waiting), clock, meter


def send(batcher: Batcher, numbers: Sequence[int], level: int = 0) -> list[asyncio.Task[Vector]]:
    return [asyncio.create_task(batcher.encode(image(number), level)) for number in numbers]
