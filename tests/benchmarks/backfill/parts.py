"""A backfill's worker against its encoder alone, the stream worker and Ray Data; what a row costs
beside its image; listings and plans."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from tests.benchmarks import full_size, peers, stream
from tests.benchmarks.backfill import (
    beside,
    listing,
    overhead_process,
    photo_worker,
    planning,
    resuming,
)
from tests.benchmarks.encode import precisions
from tests.benchmarks.figures import Figure
from tests.benchmarks.worker_rig import Bench, bench
from tests.rigs.stages.decoding import photos
from workers.embedded.processes import command_environment

ROUNDS = 2
RUN_S = 12.0
OVERHEAD_ROWS = 40_000
OVERHEAD_SHARD = 5_000
OVERHEAD_GOAL_US = 250
OF_ENCODE = {"fp32": 0.97}
OF_STREAM = {"fp32": 1.0, "bf16": 1.02, "int8": 1.02}
OF_RAY_DATA = {"fp32": 1.18, "int8": 4.2}
OF_RAY_DATA_WITH_AMX = {"fp32": 1.45, "bf16": 4.9, "int8": 6.0}
RAY_DATA_IMAGES = 96


def overhead(rounds: int = 3) -> list[Figure]:
    """CPU of the worker a row, with a store, a decoder and a model at no cost."""
    command = [sys.executable, "-m", overhead_process.__name__]
    command += [str(OVERHEAD_ROWS), str(OVERHEAD_SHARD)]
    took = [
        float(
            subprocess.run(
                command, env=command_environment(), check=True, capture_output=True, text=True
            ).stdout
        )
        for _ in range(rounds)
    ]
    return [Figure.median("backfill.overhead", took, "us/row", OVERHEAD_GOAL_US, at_least=False)]


def photographs(rounds: int, tell: Callable[[str], None]) -> list[Figure]:
    """In turns: the encoder alone, the stream worker, the backfill's worker, Ray Data."""
    threads = len(os.sched_getaffinity(0))
    files = photos()
    objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(files)}
    rates: stream.Rates = defaultdict(list)
    alone = {each: stream.encoder_rate(each, threads) for each in precisions()}
    images = {each: int(rate() * RUN_S) for each, rate in alone.items()}
    with (
        bench(objects, stream.WARM, max(images.values())) as running,
        peers.running(("ray_data",), full_size.checkpoint(), tell) as turns,
    ):
        for number in range(rounds):
            for precision, rate in alone.items():
                before = rate()
                stream.worker_turn(running, precision, images[precision], threads, rates)
                _turn(running, precision, images[precision], threads, len(files), rates)
                rates[f"encode.{precision}"].append((before + rate()) / 2)
            for name, turn in turns.items():
                rates[name].append(turn(RAY_DATA_IMAGES))
            tell(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.3g}" for k, v in rates.items()))
    return _figures(rates, list(alone))


def _turn(
    running: Bench, precision: str, images: int, threads: int, keys: int, rates: stream.Rates
) -> None:
    model = {
        "directory": str(full_size.checkpoint()),
        "device": "cpu",
        "precision": precision,
        "threads": threads,
    }
    if precision == "int8":
        model["calibration"] = str(full_size.calibration())
    changed = {"model": model, "flow": {"max_in_flight": stream.WARM}}
    options = ["--beside", str(running.s3.pid), "--keys", str(keys)]
    spent = running.worker(photo_worker.__name__, changed, images=images, options=options)
    rates[f"backfill.{precision}"].append(spent.rate)


def _figures(rates: stream.Rates, names: Sequence[str]) -> list[Figure]:
    has_amx = torch.cpu.get_capabilities().get("amx_bf16", False)
    of_ray_data = OF_RAY_DATA_WITH_AMX if has_amx else OF_RAY_DATA
    figures = [
        Figure.median(name, each, "images/s")
        for name, each in rates.items()
        if not name.startswith("services") and not name.endswith("elsewhere")
    ]
    for precision in names:
        ours = rates[f"backfill.{precision}"]
        for other, goals, what in (
            (rates[f"encode.{precision}"], OF_ENCODE, "of_encode"),
            (rates[f"stream.{precision}"], OF_STREAM, "of_stream"),
            (rates["ray_data"], of_ray_data, "over_ray_data"),
        ):
            if other:
                ratio = statistics.mean(ours) / statistics.mean(other)
                name = f"backfill.{precision}.{what}"
                figures.append(Figure(name, ratio, "times", goals.get(precision)))
    return figures


def measure(only: Sequence[str], rounds: int, tell: Callable[[str], None]) -> list[Figure]:
    """Some minutes, with all parts."""
    figures: list[Figure] = []
    if "overhead" in only:
        figures += overhead()
    if "photographs" in only:
        figures += photographs(rounds, tell)
    if "listing" in only:
        figures += listing.measure(tell)
    if "planning" in only:
        figures += planning.measure(tell)
    if "beside" in only:
        figures += beside.measure(tell)
    if "resuming" in only:
        figures += resuming.measure(tell)
    return figures


PARTS = ("overhead", "photographs", "listing", "planning", "beside", "resuming")
