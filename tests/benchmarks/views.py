"""`python -m tests.benchmarks.views`: what `decode.views: all` costs against `centre`.

The path is the product's from bytes to embeddings, with one decoder and a full-size ViT-B/32 of
random weights on one thread. One image is in it at a time, so its wall time is its latency without
a queue. The two ways take turns on each image, so that a busy machine slows both. Ratios are the
medians of the turns' own: of CPU time, the decoder's child included, and of wall time for the
latency. Writes ``results/views.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from pipeline.look import Look
from pipeline.metrics import IMAGE_METRICS
from tests.benchmarks.decode import children, cpu_clock_with
from tests.benchmarks.full_size import NAME, checkpoint
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS
from tests.rigs.stages.decoding import as_file, clouds
from workers.stages import looking

RESULT = RESULTS / "views.json"
WAYS = ("centre", "all")
GIF_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Case:
    """A file."""

    name: str
    body: bytes


def cases() -> list[Case]:
    def photo(width: int, height: int) -> bytes:
        return as_file(clouds(1, width, height), "JPEG", quality=88)

    frames = [clouds(seed, 320, 320) for seed in range(GIF_FRAMES)]
    gif = as_file(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)
    return [
        Case("JPEG 500 x 500", photo(500, 500)),
        Case("JPEG 640 x 480", photo(640, 480)),
        Case("JPEG 1920 x 1080", photo(1920, 1080)),
        Case("JPEG 2000 x 400", photo(2000, 400)),
        Case(f"GIF 320 x 320, {GIF_FRAMES} frames", gif),
    ]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one turn took of an image, in seconds."""

    decode_cpu: float
    encode_cpu: float
    wall: float


@dataclass(frozen=True, slots=True)
class Way:
    """One setting of ``decode.views``. ``cpu_ns`` is the CPU time of this process and of the way's
    decoder."""

    look: Look
    cpu_ns: Callable[[], int]

    async def once(self, body: bytes) -> tuple[Spent, int]:
        """What it took, and how many views there were."""
        wall, begun = time.perf_counter(), self.cpu_ns()
        opened = await self.look.decode(body)
        decoded = self.cpu_ns()
        looked = await self.look.encode(opened)
        encoded = self.cpu_ns()
        views = 1 if looked.views is None else len(looked.views.places)
        spent = Spent(
            (decoded - begun) / 1e9, (encoded - decoded) / 1e9, time.perf_counter() - wall
        )
        return spent, views


async def measure(rounds: int) -> list[dict[str, object]]:
    """One row for each case. Blocks for about 3 s a round."""
    encoder = ClipEncoder.load(
        ModelPolicy(name=NAME, directory=checkpoint(), device="cpu", precision="fp32", threads=1)
    )
    order = random.Random(rounds)
    rows: list[dict[str, object]] = []
    async with AsyncExitStack() as owned:
        ways = {}
        for name in WAYS:
            before = children()
            policy = DecodePolicy.model_validate({"processes": 1, "views": name})
            meter = PrometheusMeter(IMAGE_METRICS)
            seeing = await owned.enter_async_context(
                looking(encoder, meter, policy, BatchPolicy(max_wait_s=0.0))
            )
            (child,) = children() - before
            ways[name] = Way(seeing.look, cpu_clock_with(child))
        for case in cases():
            turns: list[dict[str, Spent]] = []
            views = 1
            for _ in range(rounds + 1):  # the first is to get warm
                turn = {}
                for name in order.sample(WAYS, len(WAYS)):
                    turn[name], seen = await ways[name].once(case.body)
                    views = max(views, seen)
                turns.append(turn)
            rows.append(_row(case.name, views, turns[1:]))
    return rows


def _row(name: str, views: int, turns: list[dict[str, Spent]]) -> dict[str, object]:
    def times(of: Callable[[Spent], float]) -> float:
        return round(statistics.median(of(turn["all"]) / of(turn["centre"]) for turn in turns), 2)

    return {
        "image": name,
        "views": views,
        "decode_cpu_times": times(lambda spent: spent.decode_cpu),
        "encode_cpu_times": times(lambda spent: spent.encode_cpu),
        "cpu_times": times(lambda spent: spent.decode_cpu + spent.encode_cpu),
        "latency_times": times(lambda spent: spent.wall),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    rows = asyncio.run(measure(rounds))
    result = {
        "commit": commit(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_at_start": round(load, 1),
        "model": "ViT-B/32, random weights, fp32, 1 thread",
        "rounds": rounds,
        "images": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    table = Table(title="decode.views: all, against centre")
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
