"""`python -m tests.benchmarks.decode`: decoding in the sandbox against transformers' processor.

Ours is the product's decoder with one child process: the bytes go through its socket, the pixels
come back, and the CPU time of both processes counts. The peer is ``CLIPImageProcessorPil`` in this
process, on one thread, from bytes to normalised floats. They take turns on each image, so that a
busy machine slows both; the ratio is the median of the turns' own, by CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from transformers import CLIPImageProcessorPil

from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import ImageGeometry
from tests.benchmarks.figures import Figure
from tests.rigs.stages.decoding import as_file, enlarged, photos

GEOMETRY = ImageGeometry(224, 224)
QUALITY = 88
PEER = "transformers"
MODES = ("strict", "fast")
WAYS = (PEER, *MODES)


@dataclass(frozen=True, slots=True)
class Case:
    """Images of one format and size, and how many times as fast as the peer each mode is to be."""

    file_format: str
    width: int
    height: int
    images: int
    strict: float | None = None
    fast: float | None = None

    @property
    def name(self) -> str:
        return f"{self.file_format.lower()}.{self.width}x{self.height}"

    def goal(self, mode: str) -> float | None:
        return self.strict if mode == "strict" else self.fast

    def files(self) -> list[bytes]:
        options: dict[str, int] = {}
        if self.file_format == "JPEG":
            options = {"quality": QUALITY, "subsampling": 2}  # 4:2:0, as cameras write
        return [
            as_file(enlarged(body, self.width, self.height), self.file_format, **options)
            for body in some_photos(self.images)
        ]


def some_photos(most: int) -> list[bytes]:
    """Taken evenly from all photographs."""
    every = photos()
    return every[:: max(1, len(every) // most)][:most]


CASES = (
    Case("JPEG", 640, 480, images=8, strict=2.1, fast=2.1),
    Case("JPEG", 1280, 960, images=4),
    Case("JPEG", 1920, 1080, images=4, strict=3.0, fast=4.4),
    Case("JPEG", 4000, 3000, images=2, strict=2.0, fast=8.0),
    Case("PNG", 640, 480, images=4),
    Case("WEBP", 640, 480, images=4),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds that one image took: of all processors, and by the clock."""

    cpu_ms: float
    wall_ms: float


Costs = dict[str, list[Cost]]


def measure(rounds: int) -> list[Figure]:
    """Decode every image so many times in every way, taking turns; blocks for about 2 s a round.

    The figures are ``decode.<mode>.<format>.<size>``: how many times as fast as the peer, and for
    each way ``….cpu`` and ``….wall`` in ms an image.
    """
    return [
        figure for case in CASES for figure in _figures(case, asyncio.run(_costs(case, rounds)))
    ]


def _figures(case: Case, costs: Costs) -> Iterator[Figure]:
    for way, each in costs.items():
        name = f"decode.{way}.{case.name}"
        if way != PEER:
            turns = zip(costs[PEER], each, strict=True)
            times = (peer.cpu_ms / own.cpu_ms for peer, own in turns)
            yield Figure.median(name, times, "times", goal=case.goal(way))
        yield Figure.median(f"{name}.cpu", (cost.cpu_ms for cost in each), "ms")
        yield Figure.median(f"{name}.wall", (cost.wall_ms for cost in each), "ms")


async def _costs(case: Case, rounds: int) -> Costs:
    torch.set_num_threads(1)
    processor = CLIPImageProcessorPil()
    files = case.files()
    decoders = {
        mode: SandboxedDecoder(DecodePolicy(mode=mode, processes=1), PrometheusMeter(IMAGE_METRICS))
        for mode in ("strict", "fast")
    }
    clocks: dict[str, Callable[[], int]] = {PEER: time.process_time_ns}
    costs: Costs = defaultdict(list)
    order = random.Random(rounds)

    async def once(way: str, body: bytes) -> None:
        if way == PEER:
            with Image.open(io.BytesIO(body)) as image:
                processor(image, return_tensors="np")
        else:
            await decoders[way].decode(body, GEOMETRY)

    try:
        for mode, decoder in decoders.items():
            before = children()
            await decoder.start()
            (child,) = children() - before
            clocks[mode] = cpu_clock_with(child)
        for number in range(-1, rounds):  # the first is to get warm
            for body in files:
                # By chance: who comes behind the peer finds its pixels in the caches.
                for way in order.sample(WAYS, len(WAYS)):
                    cpu, wall = clocks[way](), time.perf_counter_ns()
                    await once(way, body)
                    spent = (clocks[way]() - cpu, time.perf_counter_ns() - wall)
                    if number >= 0:
                        costs[way].append(Cost(*(nanoseconds / 1e6 for nanoseconds in spent)))
    finally:
        for decoder in decoders.values():
            await decoder.close()
    return costs


def children() -> set[int]:
    """This process's children."""
    return {
        int(child)
        for listing in Path("/proc/self/task").glob("*/children")
        for child in listing.read_text().split()
    }


def cpu_clock_with(child: int) -> Callable[[], int]:
    """CPU time of this process and a child, ns. A process's clock is named as Linux names it for
    clock_getcpuclockid(3): its inverted id, and 2 for scheduled time."""
    clock = ~child << 3 | 2
    return lambda: time.process_time_ns() + time.clock_gettime_ns(clock)


def show(figures: list[Figure], console: Console) -> None:
    values = {figure.name: figure for figure in figures}
    table = Table(title="CPU time of an image, ms (wall), and how many times as fast")
    for heading in ("images", PEER, *MODES, *(f"{mode}: times (goal)" for mode in MODES)):
        table.add_column(heading, justify="right")
    for case in CASES:
        cells = [
            f"{values[f'decode.{way}.{case.name}.cpu'].value:.2f}"
            f" ({values[f'decode.{way}.{case.name}.wall'].value:.2f})"
            for way in WAYS
        ]
        for mode in MODES:
            figure = values[f"decode.{mode}.{case.name}"]
            goal = "" if figure.goal is None else f" ({figure.goal:g})"
            style = "red" if figure.met is False else "green" if figure.met else ""
            cells.append(
                f"[{style}]{figure.value:.2f}{goal}[/]" if style else f"{figure.value:.2f}"
            )
        table.add_row(case.name, *cells)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    show(measure(parser.parse_args().rounds), Console())


if __name__ == "__main__":
    main()
