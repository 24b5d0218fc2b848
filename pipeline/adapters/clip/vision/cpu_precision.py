"""Chooses the arithmetic of a vision tower on a CPU: fp32, or bf16 if bf16 is faster.

A processor's list of features does not say whether bf16 pays. Of two processors with the same
instructions, one computes this tower twice as fast in bf16, the other at two thirds of its fp32
speed. So both are tried on the tower itself, in turns, which takes a second or two for ViT-B/32.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pipeline.adapters.clip.checkpoint import first_line
from pipeline.adapters.clip.vision.int8 import centred_cosines
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.records import Pixels

LEAST_GAIN = 1.3
"""bf16 is used from this many times the speed of fp32 on. This is well above the difference between
two measurements, so that the workers of a deployment decide alike. A processor made for bf16 gains
2 to 3."""

ROUNDS = 3
IMAGES = 4
SLOW_S = 0.5
"""A tower that takes longer for one image is measured on one image instead of ``IMAGES``."""
HOPELESS = 0.5
"""If bf16 is below this share of fp32's speed twice, the measurement ends: some processors only
imitate bf16. A single slow round may come from another process."""

Timer = Callable[[], float]

log = logging.getLogger(__name__)


def faster_tower(
    tower: VisionTower, *, side: int, threads: int, min_fidelity: float, timer: Timer
) -> tuple[str, VisionTower]:
    """``bf16`` and a copy of the tower in bf16, or ``fp32`` and the ``tower`` itself. bf16 is
    chosen if it is ``LEAST_GAIN`` times as fast on ``threads`` threads, and if its embeddings of
    ``sample_images`` keep a centred cosine of ``min_fidelity`` with those of fp32."""
    torch.set_num_threads(threads)  # see VisionEngine
    images = sample_images(side)
    reduced = copy.deepcopy(tower).to(torch.bfloat16)
    try:
        with torch.inference_mode():
            fp32_s, bf16_s = _seconds(tower, reduced, torch.from_numpy(images[:IMAGES]), timer)
            gain = fp32_s / bf16_s if bf16_s else 0.0
            fidelity = _fidelity(tower, reduced, images) if gain >= LEAST_GAIN else math.nan
    except (RuntimeError, MemoryError) as error:
        # If the tower itself cannot run, the caller finds out.
        log.info("model: bf16 could not be measured (%s): fp32", first_line(error))
        return "fp32", tower
    takes_bf16 = gain >= LEAST_GAIN and fidelity >= min_fidelity  # NaN is below
    log.info(
        "model: %s on this CPU: a lane does %.3g images/s in fp32 and %.3g in bf16, %.2f times as "
        "many against %g%s",
        "bf16" if takes_bf16 else "fp32",
        1 / fp32_s if fp32_s else math.inf,
        1 / bf16_s if bf16_s else math.inf,
        gain,
        LEAST_GAIN,
        ""
        if math.isnan(fidelity)
        else f"; least centred cosine {fidelity:.4f} against {min_fidelity:g}",
    )
    return ("bf16", reduced) if takes_bf16 else ("fp32", tower)


def _seconds(
    tower: VisionTower, reduced: VisionTower, images: torch.Tensor, timer: Timer
) -> tuple[float, float]:
    """Seconds for one image, the least of several rounds, for each tower."""

    def took_s(each: VisionTower, some: torch.Tensor) -> float:
        started = timer()
        each(some)
        return (timer() - started) / len(some)

    towers = (tower, reduced)
    # The first call loads and packs. It only shows whether more calls are worth their time.
    first = [took_s(each, images[:1]) for each in towers]
    if max(first) > SLOW_S:
        images = images[:1]
    least = [math.inf, math.inf]
    for _ in range(ROUNDS):
        least = [min(was, took_s(each, images)) for was, each in zip(least, towers, strict=True)]
        if all(fp32_s < HOPELESS * bf16_s for fp32_s, bf16_s in (first, least)):
            break
    return least[0], least[1]


def _fidelity(tower: VisionTower, reduced: VisionTower, images: Pixels) -> float:
    exact, other = (
        np.concatenate([each(torch.from_numpy(image[np.newaxis])).numpy() for image in images])
        for each in (tower, reduced)
    )
    return float(centred_cosines(other, exact).min())


def sample_images(side: int) -> Pixels:
    """Pictures that differ from each other, uint8 [8, side, side, 3]: ramps, a chequerboard, waves,
    a disc, a plain colour, patches, noise. Always the same, and not decoded from files."""
    row, column = np.mgrid[0:side, 0:side] / max(1, side - 1)
    random = np.random.default_rng(0)
    edge = -(-side // 7)
    planes: list[list[Any]] = [
        [column, row, 1 - column],
        [(np.floor(8 * column) + np.floor(8 * row)) % 2] * 3,
        [0.5 + np.sin(40 * column * row) / 2, 0.5 + np.cos(20 * column) / 2, column * row],
        [np.hypot(column - 0.5, row - 0.5) < 0.3] * 3,
        [np.full_like(row, level) for level in (0.8, 0.1, 0.2)],
        [np.kron(random.random((7, 7)), np.ones((edge, edge)))[:side, :side] for _ in range(3)],
        [random.random((side, side)) for _ in range(3)],
        [np.sqrt(row), np.square(column), 1 - row],
    ]
    images = np.array([np.stack(each, axis=-1) for each in planes], dtype=np.float64)
    pixels: Pixels = np.rint(255 * images).astype(np.uint8)
    return pixels
