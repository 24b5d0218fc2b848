"""The per-image path as workers build it, with real decoder processes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import Overloaded
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import Pixels, Vector
from tests.rigs.stages.decoding import as_file, noise
from workers.stages import looking

pytestmark = [pytest.mark.component]


class BusyEncoder(MemoryEncoder):
    """Encodes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def encode_images(self, pixels: Pixels) -> Vector:
        self.go_on.wait()
        return super().encode_images(pixels)


def test_a_worker_that_bounds_its_queue_refuses_what_finds_no_room() -> None:
    encoder = BusyEncoder()
    picture = as_file(noise(40, 30))
    images = 6

    async def main() -> list[object]:
        decode, batch = DecodePolicy(processes=1), BatchPolicy(max_size=1)
        meter = MemoryMeter(IMAGE_METRICS)
        async with looking(encoder, meter, decode, batch, max_waiting=2) as seeing:
            looks = [asyncio.create_task(seeing.look(picture)) for _ in range(images)]
            refused, _ = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(each.exception(), Overloaded) for each in refused)
            encoder.go_on.set()
            return await asyncio.gather(*looks, return_exceptions=True)

    outcomes = asyncio.run(main())
    refused = [each for each in outcomes if isinstance(each, Overloaded)]
    assert refused
    assert all(each.wait_s > 0 for each in refused)
    assert len(refused) < images
