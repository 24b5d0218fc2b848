"""The process that ``between`` measures: a whole stream worker, but for its decoder and model."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import metrics
from pipeline.adapters.memory import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode import DecodePolicy
from pipeline.ports import Encoder, Meter
from pipeline.records import (
    DecodedImage,
    ImageGeometry,
    ModelIdentity,
    Pixels,
    Vector,
)
from tests.benchmarks.cpu_time import Spending
from workers import heap, wiring
from workers.logs import configure_logging
from workers.settings import Settings, load_settings

CROP_PX = 224
DIMENSION = 512
DECODES_AT_ONCE = 64
LOOK_S = 0.05
STOP_S = 20.0


class NullDecoder:
    """Always the same pixels, at once."""

    def __init__(self, policy: DecodePolicy, meter: Meter) -> None:
        pixels = np.full((CROP_PX, CROP_PX, 3), 127, np.uint8)
        self._image = DecodedImage(pixels, "JPEG", 640, 480, 1, 0.25)
        self.processes = DECODES_AT_ONCE

    async def start(self) -> None: ...

    async def decode(self, body: bytes, geometry: ImageGeometry) -> DecodedImage:
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
    def geometry(self) -> ImageGeometry:
        return self._texts.geometry

    def encode_images(self, pixels: Pixels) -> Vector:
        return np.broadcast_to(self._vector, (len(pixels), DIMENSION))

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        return self._texts.encode_texts(prompts)


def null_encoder(settings: Settings) -> Encoder:
    return NullEncoder()


class Meters(PrometheusMeter):
    """The worker's meter, within reach."""

    made: Meters

    def __init__(self) -> None:
        super().__init__()
        Meters.made = self

    def commits(self) -> int:
        return round(self.registry.get_sample_value(metrics.COMMITS.name) or 0)


def main() -> None:
    """Work off the topic, and write down what the images after the first ``warm`` took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--warm", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings, environment={})
    configure_logging(settings.log, "worker")
    wiring.load_encoder = null_encoder
    vars(wiring).update(SandboxedDecoder=NullDecoder, PrometheusMeter=Meters)
    built = wiring.build_stream_worker(settings, 0)
    worker = built.worker

    def committed(at_least: int) -> int:
        while (count := worker.health().committed) < at_least:
            time.sleep(LOOK_S)
        return count

    def watch() -> None:
        spending = Spending(committed(arguments.warm), Meters.made.commits())
        done = committed(arguments.warm + arguments.images)
        spending.until(done, Meters.made.commits()).save(arguments.output)
        worker.stop(STOP_S)

    watching = threading.Thread(target=watch, name="watching", daemon=True)
    watching.start()
    heap.settle()
    try:
        worker.run()
    finally:
        built.close()


if __name__ == "__main__":
    main()
