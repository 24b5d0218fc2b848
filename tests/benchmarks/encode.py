"""`python -m tests.benchmarks.encode`: what this processor encodes a second, beside what its
arithmetic allows.

A full-size ViT-B/32 with seeded random weights, in every precision that pays here. The limit is
measured in the same turns: the largest of the tower's own matrix products, over the operations that
an image takes.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from pipeline.adapters.clip import DTYPES
from pipeline.adapters.clip_files import from_directory
from pipeline.adapters.clip_model import ClipModel, read_model
from pipeline.adapters.vision_engine import VisionEngine
from pipeline.adapters.vision_tower import VisionTower
from pipeline.records import Pixels
from tests.benchmarks.figures import Figure
from tests.clip_checkpoints import write_full_size_checkpoint

SIDE = 224
BATCH = 32
SMALL_BATCH = 8
PRODUCT = (BATCH * 50, 768, 3072)
"""Rows, depth and columns of the MLP's first product, for a batch."""
GOAL = {"fp32": 0.90}
"""Of the limit, compiled."""
ROUNDS = 5
TURN_S = 1.5


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to encode, and what it is measured against."""

    precision: str
    name: str
    encode: Callable[[], object]
    images: int = BATCH

    @property
    def key(self) -> str:
        return f"encode.{self.precision}.{self.name}"


def precisions() -> tuple[str, ...]:
    """Those that pay here."""
    return ("fp32", "bf16") if torch.cpu.get_capabilities().get("amx_bf16") else ("fp32",)


def flops_per_image(network: Any) -> float:
    """Of transformers' own image tower, every token through every layer."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.get_image_features(pixel_values=torch.zeros(1, 3, SIDE, SIDE))
    return float(counter.get_total_flops())


def contenders(model: ClipModel, precision: str, threads: int) -> Iterator[Contender]:
    dtype = DTYPES[precision]
    rows, depth, columns = PRODUCT
    left, right = torch.randn(rows, depth, dtype=dtype), torch.randn(columns, depth, dtype=dtype)
    products = torch.nn.functional.linear
    yield Contender(precision, "limit", lambda: products(left, right))
    planes = torch.rand(BATCH, 3, SIDE, SIDE, dtype=dtype)
    reference: Any = copy.deepcopy(model.network)
    torch.nn.Module.to(reference, dtype=dtype)

    def transformers() -> object:
        return reference.get_image_features(pixel_values=planes)

    yield Contender(precision, "transformers", transformers)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    for name, compiled in (("plain", False), ("compiled", True)):
        tower = VisionTower(model.network, model.preprocessing).to(dtype=dtype)
        engine = VisionEngine.on_cpu(
            tower, side=SIDE, largest=BATCH, compiled=compiled, threads=threads
        )
        engine.prepare()
        yield Contender(precision, name, _encoding(engine, pixels))
        few = pixels[:SMALL_BATCH]
        yield Contender(precision, f"{name}_{SMALL_BATCH}", _encoding(engine, few), SMALL_BATCH)


def _encoding(engine: VisionEngine, pixels: Pixels) -> Callable[[], object]:
    return lambda: engine.encode(pixels)


def measure(rounds: int = ROUNDS, turn_s: float = TURN_S) -> list[Figure]:
    """All contenders in turns; some minutes, most of them compiling."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_full_size_checkpoint(Path(folder))
        model = read_model(from_directory("vit-b-32", checkpoint))
    flops = flops_per_image(model.network)
    field = [each for precision in precisions() for each in contenders(model, precision, threads)]
    rates: dict[str, list[float]] = defaultdict(list)
    with torch.inference_mode():
        for _ in range(rounds):
            for each in field:
                rates[each.key].append(_rate(each, turn_s))
    rows, depth, columns = PRODUCT
    per_product = 2 * rows * depth * columns / BATCH  # operations for each "image" of a product
    figures = []
    for precision in precisions():
        limit = f"encode.{precision}.limit"
        rates[limit] = [rate * per_product / flops for rate in rates[limit]]
        figures.append(Figure(limit, statistics.median(rates[limit]), "images/s"))
        for each in field:
            if each.precision != precision or each.name == "limit":
                continue
            shares = [own / most for own, most in zip(rates[each.key], rates[limit], strict=True)]
            goal = GOAL.get(precision) if each.name == "compiled" else None
            figures += [
                Figure(each.key, statistics.median(rates[each.key]), "images/s"),
                Figure(f"{each.key}.of_limit", statistics.median(shares), "of the limit", goal),
            ]
    return figures


def _rate(contender: Contender, turn_s: float) -> float:
    """Images a second of the quickest call of a turn: what others take of the machine is not its
    doing."""
    best, ends = 0.0, time.monotonic() + turn_s
    while time.monotonic() < ends:
        begun = time.monotonic()
        contender.encode()
        best = max(best, contender.images / (time.monotonic() - begun))
    return best


def show(figures: list[Figure], console: Console) -> None:
    table = Table("way", "images/s", "of the limit", "goal", title="Encode on this processor")
    values = {figure.name: figure for figure in figures}
    for figure in figures:
        share = values.get(f"{figure.name}.of_limit")
        if not figure.name.endswith(".of_limit"):
            table.add_row(
                figure.name.removeprefix("encode."),
                f"{figure.value:.1f}",
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
