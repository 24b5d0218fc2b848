"""Quantizes a vision tower to int8 with images like those that it will see. Needs NNCF and
OpenVINO."""

from __future__ import annotations

import logging
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.adapters.clip.checkpoint import Checkpoint, first_line
from pipeline.adapters.clip.vision import int8
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.errors import Halt
from pipeline.records import Pixels

FEWEST_IMAGES = 50
HELD_OUT_SHARE = 5
"""One image in this many is held out."""
MOST_HELD_OUT = 64
"""Kept next to the graph, and encoded twice at each load: about 150 KB and 50 ms for each."""
_VNNI = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")
"""Instructions that add products of int8 in 32 bits."""


def split(images: Pixels) -> tuple[Pixels, Pixels]:
    """Images to calibrate with, and images to hold out, which are the first ones.

    Raises:
        Halt: ``calibrate.too_few``.
    """
    if len(images) < FEWEST_IMAGES:
        raise Halt(
            "calibrate.too_few",
            f"calibrate: {len(images)} different images could be decoded against {FEWEST_IMAGES}; "
            "give some hundred images, chosen at random from those that you classify",
        )
    held_out = min(len(images) // HELD_OUT_SHARE, MOST_HELD_OUT)
    return images[held_out:], images[:held_out]


def calibrate(
    tower: VisionTower,
    checkpoint: Checkpoint,
    images: Pixels,
    held_out: Pixels,
    directory: Path,
    *,
    threads: int,
    min_fidelity: float,
) -> int8.CalibrationFacts:
    """Write the tower in int8 into a new directory, calibrated with ``images``. ``held_out`` shows
    whether the result is faithful. Both are uint8 [images, side, side, 3]. Takes half a minute for
    ViT-B/32.

    Raises:
        Halt: ``model.int8_unavailable``; ``model.unfaithful``; ``calibrate.failed``: the directory
            cannot be created. A failure leaves no directory behind.
    """
    openvino, nncf = int8.openvino(), _nncf()
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise Halt(
            "calibrate.failed",
            f"calibrate: {directory} cannot be created ({first_line(error)}); name a new directory",
        ) from error
    try:
        graph = _graph(openvino, tower, held_out.shape[1])
        quantize = partial(
            nncf.quantize,
            graph,
            nncf.Dataset(images[:, None]),  # batches of one
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
            advanced_parameters=_advanced(nncf),
        )
        quantized = int8.apart(quantize)
        openvino.save_model(quantized, directory / int8.GRAPH, compress_to_fp16=False)
        np.save(directory / int8.HELD_OUT, held_out)
        written = int8.Calibration(directory, held_out, digest="")
        engine = written.engine(tower, largest=len(held_out), lanes=1, threads=threads)
        least = written.check(engine, tower, threads=threads, min_fidelity=min_fidelity)
        facts = int8.CalibrationFacts(
            model=checkpoint.name,
            revision=checkpoint.revision,
            images=len(images),
            held_out=len(held_out),
            fidelity=least,
            openvino=openvino.__version__,
            nncf=nncf.__version__,
        )
        (directory / int8.FACTS).write_text(facts.model_dump_json(indent=2) + "\n")
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return facts


def _advanced(nncf: Any) -> Any:
    """An x86-64 processor without VNNI adds pairs of products in 16 bits, which overflow. So for
    such a processor weights take half of their range."""
    able = torch.cpu.get_capabilities()
    overflows = able.get("architecture") == "x86_64" and not any(map(able.get, _VNNI))
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if overflows else None
    )


def _graph(openvino: Any, tower: VisionTower, side: int) -> Any:
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings of torch and the converter
        program = torch.export.export(tower, (example,), dynamic_shapes=({0: batch},))
        return openvino.convert_model(program)


def _nncf() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise Halt(
            "model.int8_unavailable",
            f"calibrate: needs NNCF ({first_line(error)}); install clipstream[int8]",
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
