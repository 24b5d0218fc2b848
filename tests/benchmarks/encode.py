"""`python -m tests.benchmarks.encode`: what this processor encodes a second, beside what its
arithmetic allows.

A full-size ViT-B/32 with seeded random weights, in every precision that pays here, by as many
callers as the encoder has lanes. The limit is measured in the same turns: the largest of the
tower's own matrix products, as often as a batch has operations for, so that a call takes as long as
one of the encoder would at best. All threads compute one product together (``products_in_step``),
or each has its own (``products_apart``): the limit is what is more in the round.
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPModel

from pipeline.adapters.clip.checkpoint import from_directory
from pipeline.adapters.clip.encoder import DTYPES
from pipeline.adapters.clip.model import ClipModel
from pipeline.adapters.clip.vision.cpu_precision import faster_tower
from pipeline.adapters.clip.vision.engine import VisionEngine
from pipeline.adapters.clip.vision.int8 import FACTS, Calibration, CalibrationFacts
from pipeline.adapters.clip.vision.tower import VisionTower
from tests.benchmarks import full_size
from tests.benchmarks.figures import Figure
from tests.benchmarks.lanes import calls_per_second

SIDE = 224
BATCH = 32
SMALL_BATCH = 8
PRODUCT = (BATCH * 50, 768, 3072)
"""Rows, depth and columns of the MLP's first product, for a batch."""
GOAL = {"encode.fp32.plain": 0.90, "encode.bf16.plain": 0.65, "encode.int8.calibrated": 0.65}
"""Of the limit, on every processor; bf16's is what one with AMX reached."""
PRECISIONS = ("fp32", "bf16", "int8")
ROUNDS = 4
TURN_S = 1.5


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to encode, and what it is measured against."""

    precision: str
    name: str
    encode: Callable[[], object]
    images: int = BATCH
    lanes: int = 1

    @property
    def key(self) -> str:
        return f"encode.{self.precision}.{self.name}"


@functools.cache
def precisions() -> tuple[str, ...]:
    """Those that pay here: bf16 where a worker would take it by itself."""
    model = full_size.model()
    tower = VisionTower(model)
    taken, _ = faster_tower(
        tower,
        side=SIDE,
        threads=1,
        min_fidelity=full_size.MIN_FIDELITY,
        timer=time.perf_counter,
    )
    return tuple(each for each in PRECISIONS if each != "bf16" or taken == "bf16")


def engine(
    model: ClipModel, precision: str, threads: int, lanes: int | None = None
) -> VisionEngine:
    """The product's default, for a precision. One lane a thread unless it is said."""
    lanes = lanes or threads
    tower = VisionTower(model)
    if precision == "int8":
        source = from_directory(full_size.NAME, full_size.checkpoint())
        calibration = Calibration.read(full_size.calibration(), source, SIDE)
        return calibration.engine(tower, largest=BATCH, lanes=lanes, threads=threads)
    tower.to(dtype=DTYPES[precision])
    ready = VisionEngine.on_cpu(
        tower, side=SIDE, largest=BATCH, compiled=False, lanes=lanes, threads=threads
    )
    ready.prepare()
    return ready


@functools.cache
def transformers_model() -> Any:
    return CLIPModel.from_pretrained(full_size.checkpoint(), local_files_only=True)


def flops_per_image() -> float:
    """Of transformers' own image tower, every token through every layer."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        transformers_model().get_image_features(pixel_values=torch.zeros(1, 3, SIDE, SIDE))
    return float(counter.get_total_flops())


def contenders(model: ClipModel, precision: str, threads: int) -> Iterator[Contender]:
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)

    def ours(name: str) -> Iterator[Contender]:
        # Each lane has batches of its own.
        ready = engine(model, precision, threads)
        batch = pixels[: ready.largest]
        yield Contender(precision, name, lambda: ready.encode(batch), len(batch), ready.lanes)
        few = pixels[:SMALL_BATCH]
        small = f"{name}_{SMALL_BATCH}"
        yield Contender(precision, small, lambda: ready.encode(few), SMALL_BATCH, ready.lanes)

    def in_step(name: str) -> Contender:
        ready = engine(model, precision, threads, lanes=1)
        return Contender(precision, f"{name}_in_step", lambda: ready.encode(pixels))

    products = _products(precision, flops_per_image())
    yield Contender(precision, "products_in_step", _by(threads, products))
    yield Contender(precision, "products_apart", _by(1, products), lanes=threads)
    if precision == "int8":
        yield in_step("calibrated")
        yield from ours("calibrated")
        return
    planes = torch.rand(BATCH, 3, SIDE, SIDE, dtype=DTYPES[precision])
    reference: Any = copy.deepcopy(transformers_model())
    torch.nn.Module.to(reference, dtype=DTYPES[precision])

    def transformers() -> object:
        return reference.get_image_features(pixel_values=planes)

    yield Contender(precision, "transformers", _by(threads, transformers))
    yield in_step("plain")
    yield from ours("plain")


def _by(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    """The call with so many threads of torch's, whoever calls."""

    def by_threads() -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return call()

    return by_threads


def _products(precision: str, flops: float) -> Callable[[], object]:
    """As many operations as a batch takes, and nothing else."""
    rows, depth, columns = PRODUCT
    times = round(flops * BATCH / (2 * rows * depth * columns))
    once = _int8_product() if precision == "int8" else _product(DTYPES[precision])

    def products() -> None:
        for _ in range(times):
            once()

    return products


def _product(dtype: torch.dtype) -> Callable[[], object]:
    rows, depth, columns = PRODUCT
    left, right = torch.randn(rows, depth, dtype=dtype), torch.randn(columns, depth, dtype=dtype)
    return lambda: torch.nn.functional.linear(left, right)


def _int8_product() -> Callable[[], object]:
    """With scales and an 8-bit result, as a quantized layer has it: oneDNN's, the quickest here."""
    rows, depth, columns = PRODUCT
    left = torch.randint(0, 256, (rows, depth), dtype=torch.uint8)
    right = torch.randint(-127, 128, (columns, depth), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(right, [rows, depth])
    scales, zeros = torch.full((columns,), 0.01), torch.zeros(columns, dtype=torch.int32)
    quantized: Callable[..., object] = torch.ops.onednn.qlinear_pointwise
    of_left, of_result = (0.01, 128), (0.02, 128)
    return lambda: quantized(
        left, *of_left, packed, scales, zeros, None, *of_result, torch.uint8, "none", [], ""
    )


def measure(rounds: int = ROUNDS, turn_s: float = TURN_S) -> list[Figure]:
    """All contenders in turns; some minutes, half of them calibrating and loading."""
    threads = len(os.sched_getaffinity(0))
    model = full_size.model()
    field = [each for precision in precisions() for each in contenders(model, precision, threads)]
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for each in field:
            calls = calls_per_second(each.encode, each.lanes, turn_s)
            rates[each.key].append(each.images * calls)
    figures = []
    for precision in precisions():
        key = f"encode.{precision}.products"
        ways = zip(rates[f"{key}_in_step"], rates[f"{key}_apart"], strict=True)
        limits = [max(pair) for pair in ways]
        figures.append(Figure.median(f"encode.{precision}.limit", limits, "images/s"))
        for each in field:
            if each.precision != precision:
                continue
            figures.append(Figure.median(each.key, rates[each.key], "images/s"))
            if each.name.startswith("products"):
                continue
            shares = [own / most for own, most in zip(rates[each.key], limits, strict=True)]
            name, goal = f"{each.key}.of_limit", GOAL.get(each.key)
            figures.append(Figure.median(name, shares, "of the limit", goal))
    facts = CalibrationFacts.model_validate_json((full_size.calibration() / FACTS).read_bytes())
    figures.append(
        Figure(
            "encode.int8.fidelity",
            facts.fidelity,
            "least centred cosine with fp32",
            full_size.MIN_FIDELITY,
        )
    )
    return figures


def show(figures: list[Figure], console: Console) -> None:
    table = Table("way", "images/s", "of the limit", "goal", title="Encode on this processor")
    values = {figure.name: figure for figure in figures}
    for figure in figures:
        share = values.get(f"{figure.name}.of_limit")
        if not figure.name.endswith(".of_limit"):
            table.add_row(
                figure.name.removeprefix("encode."),
                f"{figure.value:.3g}",
                f"{share.value:.2f}" if share else "",
                f"{share.goal:.2f}" if share and share.goal else "",
            )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    show(measure(parser.parse_args().rounds), Console())


if __name__ == "__main__":
    main()
