"""A small checkpoint in int8, calibrated on pictures, or on noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.adapters.clip.checkpoint import from_directory
from pipeline.adapters.clip.model import read_model
from pipeline.adapters.clip.vision.calibration import calibrate
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.records import Pixels
from tests.rigs.stages.clip_checkpoints import SMALL_IMAGE
from tests.rigs.stages.decoding import clouds

CALIBRATED_ON = 60
HELD_OUT = 20


def pictures(count: int, side: int = SMALL_IMAGE, first: int = 0) -> Pixels:
    """uint8 [count, side, side, 3], with what photographs have: large patches of colour."""
    return np.stack([np.asarray(clouds(first + each, side, side)) for each in range(count)])


def noise(count: int, side: int = SMALL_IMAGE) -> Pixels:
    seeded = np.random.default_rng(0)
    return seeded.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def calibrated(
    checkpoint: Path, directory: Path, images: Pixels, *, min_fidelity: float = 0.95
) -> Path:
    """Calibrate on images, with pictures held out; returns the directory."""
    source = from_directory("small", checkpoint)
    model = read_model(source)
    calibrate(
        VisionTower(model),
        source,
        images,
        pictures(HELD_OUT, first=10_000),
        directory,
        threads=1,
        min_fidelity=min_fidelity,
    )
    return directory
