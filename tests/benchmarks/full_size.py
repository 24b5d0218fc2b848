"""A full-size ViT-B/32 of seeded random weights, and its calibration on the photographs: written
once for all benchmarks of a process, and removed when it ends."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from pipeline.adapters.clip.checkpoint import from_directory
from pipeline.adapters.clip.model import ClipModel, read_model
from pipeline.adapters.clip.vision.calibration import FEWEST_IMAGES, calibrate, split
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.decode.policy import DecodePolicy
from tests.rigs.stages.clip_checkpoints import write_full_size_checkpoint
from tests.rigs.stages.decoding import as_file, clouds, decoding, photos

NAME = "vit-b-32"
MIN_FIDELITY = 0.95
"""model.min_fidelity's default: the figures are of a tower that a worker would run."""


@functools.cache
def checkpoint() -> Path:
    """The checkpoint's directory, 600 MB."""
    folder = Path(tempfile.mkdtemp(prefix="clipstream-full-size-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / NAME).mkdir()
    return write_full_size_checkpoint(folder / NAME)


def model() -> ClipModel:
    return read_model(from_directory(NAME, checkpoint()))


@functools.cache
def calibration() -> Path:
    """The directory for ``model.calibration``; half a minute the first time."""
    of_model = model()
    geometry = of_model.preprocessing.geometry
    files = photos()
    for seed in range(len(files), FEWEST_IMAGES):  # where the test data is not at hand
        files.append(as_file(clouds(seed, 400, 300), "JPEG"))
    with decoding(DecodePolicy(processes=2)) as decoder:
        pixels = np.stack([image.pixels for image in decoder.all(files, geometry)])
    calibrating, held_out = split(pixels)
    directory = checkpoint().parent / "int8"
    calibrate(
        VisionTower(of_model),
        from_directory(NAME, checkpoint()),
        calibrating,
        held_out,
        directory,
        threads=len(os.sched_getaffinity(0)),
        min_fidelity=MIN_FIDELITY,
    )
    return directory
