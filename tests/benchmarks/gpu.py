"""`make gpu-bench`: what a CUDA device encodes a second, beside what its arithmetic allows.

A full-size ViT-B/32 with seeded random weights, in bf16. The limit is measured in the same run: a
large matrix product of the device's own library, over the operations that an image takes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from pipeline.adapters.clip.encoder import ClipEncoder
from pipeline.adapters.clip.text_tower import TextTower
from pipeline.adapters.clip.vision.cuda import CudaLane, cuda_engine
from pipeline.adapters.clip.vision.engine import VisionEngine
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import ModelIdentity, Pixels
from tests.benchmarks import full_size, gpu_feed
from tests.benchmarks.encode import flops_per_image
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.lanes import calls_per_second
from tests.rigs.stages.decoding import jpegs

SIDE = 224
PEAK_EDGE = 8192
GOAL_ENCODER = 0.60
"""Of the limit."""
GOAL_BATCHER = 0.95
"""Of the encoder alone."""
REPEATS = 20
SECONDS = 2.5
ROUNDS = 3
BLOCKS_WAITING = 6

IDENTITY = ModelIdentity(
    name=full_size.NAME,
    revision="random",
    dimension=512,
    logit_scale=100.0,
    precision="bf16",
    engine="torch-cuda",
)


def milliseconds(work: Callable[[], object]) -> float:
    """Median of the device's time for a call, over ``REPEATS``."""
    for _ in range(3):
        work()
    times = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(float(begin.elapsed_time(end)))
    return statistics.median(times)


def peak_flops() -> float:
    """Operations a second in bf16, of a square product on random data."""
    left, right = (
        torch.randn(PEAK_EDGE, PEAK_EDGE, device="cuda", dtype=torch.bfloat16) for _ in range(2)
    )
    return 2 * PEAK_EDGE**3 / milliseconds(lambda: left @ right) * 1e3


def alone(engine: VisionEngine, size: int) -> float:
    """Images a second of the recorded batches, pixels and vectors on the device."""
    with engine.lane() as lane:
        assert isinstance(lane, CudaLane)
        return size / milliseconds(lambda: lane.replay(size)) * 1e3


def from_host(encoder: ClipEncoder, batch: Pixels) -> float:
    """Images a second, from numpy arrays to numpy arrays, of as many threads as have lanes."""
    calls = calls_per_second(lambda: encoder.encode_images(batch), encoder.lanes, SECONDS)
    return calls * len(batch)


async def through_batcher(encoder: ClipEncoder, block: Pixels) -> float:
    """Images a second of callers that each bring blocks of decoded images."""
    policy = BatchPolicy(max_size=len(block))
    batcher = Batcher(encoder, policy, SystemClock(), MemoryMeter(IMAGE_METRICS))
    ends = time.monotonic() + SECONDS
    count = 0

    async def caller() -> None:
        nonlocal count
        while time.monotonic() < ends:
            rows = await batcher.encode_block(block)
            # Not in one line: the sum would be of the count before the wait.
            count += len(rows)

    begun = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(BLOCKS_WAITING)))
    taken = time.monotonic() - begun
    await batcher.close()
    return count / taken


def measure(sizes: Sequence[int], files: Sequence[bytes], console: Console) -> list[Figure]:
    """``files`` are JPEGs to decode, for what feeds the device."""
    model = full_size.model()
    flops = flops_per_image()
    limit = peak_flops() / flops
    name = torch.cuda.get_device_name()
    console.print(f"{name}: {limit:,.0f} images/s by its arithmetic ({flops / 1e9:.2f} GFLOP each)")
    figures = [Figure("gpu.limit", limit, "images/s")]
    geometry, texts = model.preprocessing.geometry, TextTower(model)
    for size in sizes:
        started = time.monotonic()
        tower = VisionTower(model).to(dtype=torch.bfloat16)
        engine = cuda_engine(tower, torch.device("cuda"), side=SIDE, largest=size, compiled=True)
        engine.prepare()
        ready_s = time.monotonic() - started
        encoder = ClipEncoder(IDENTITY, geometry, engine, model.prompts, texts, threads=1)
        batch = np.random.default_rng(0).integers(0, 256, (size, SIDE, SIDE, 3), dtype=np.uint8)
        # In turns: a hot device is a slower one.
        rounds = [
            (
                alone(engine, size),
                from_host(encoder, batch),
                asyncio.run(through_batcher(encoder, batch)),
            )
            for _ in range(ROUNDS)
        ]
        device, host, batcher = (statistics.median(each) for each in zip(*rounds, strict=True))
        console.print(
            f"batches of {size}: ready after {ready_s:.0f} s; alone {device:,.0f}/s "
            f"({device / limit:.1%} of the limit), from host memory {host:,.0f}/s, through the "
            f"batcher {batcher:,.0f}/s ({batcher / device:.1%} of alone)"
        )
        if files and size == gpu_feed.BATCH:
            figures += gpu_feed.nvjpeg(encoder, files, console)
            figures += gpu_feed.cores(encoder, files, console)
        figures += [
            Figure(f"gpu.encoder_{size}", device / limit, "of the limit", GOAL_ENCODER),
            Figure(f"gpu.batcher_{size}", batcher / device, "of the encoder alone", GOAL_BATCHER),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="gpu-bench")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512, 1024])
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs, to measure decoding too")
    arguments = parser.parse_args()
    files = jpegs(arguments.photos) if arguments.photos else []
    console = Console(width=160)
    show(measure(arguments.sizes, files, console), "A CUDA device", console)


if __name__ == "__main__":
    main()
