"""Photographs over HTTP, from end to end, against the stream worker's rate in the same run.

The stream worker has its broker and its store on the same processors, our server its proxy and the
process that sends. The stream has its turn before ours and after it.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import metrics
from pipeline.encode.policy import lane_share
from tests.benchmarks import encode, full_size, stream
from tests.benchmarks.figures import Figure
from tests.benchmarks.serve.load import Load, send
from tests.benchmarks.serve.server import Server, ours
from tests.benchmarks.worker_rig import bench
from tests.rigs.stages.decoding import photos

CONCURRENCY = 64
WARM_S = 5.0
SECONDS = 15.0
GOALS = {"fp32": 0.95, "int8": 0.90}
FILLED = 0.8


def measure(folder: Path, seconds: float | None, tell: Callable[[str], None]) -> list[Figure]:
    """Five minutes, with the default number of seconds."""
    seconds = seconds or SECONDS
    threads = len(os.sched_getaffinity(0))
    files = photos()
    rates: stream.Rates = defaultdict(list)
    figures: list[Figure] = []
    images = {each: int(seconds * stream.encoder_rate(each, threads)()) for each in GOALS}
    objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(files)}
    with bench(objects, stream.WARM, max(images.values())) as running:
        for precision, goal in GOALS.items():
            name = f"stream.{precision}"
            share = _share(precision, threads)

            def of_stream(precision: str = precision, name: str = name) -> None:
                stream.worker_turn(running, precision, images[precision], threads, rates)
                tell(f"stream, {precision}: {rates[name][-1]:.1f} images/s")

            of_stream()
            with ours(folder, _model(precision, threads)) as server:
                rate, filled = _ours(server, folder, files, seconds)
            tell(f"ours, {precision}: {rate:.1f} images/s, {filled:.1f} of {share} in a batch")
            of_stream()
            figures += [
                Figure.median(f"serve.{precision}.stream", rates[name], "images/s"),
                Figure(f"serve.{precision}", rate, "images/s"),
                Figure(
                    f"serve.{precision}.of_stream",
                    rate / statistics.mean(rates[name]),
                    "of the stream",
                    goal,
                ),
                Figure(f"serve.{precision}.batch", filled / share, "of a lane's share", FILLED),
            ]
    return figures


def _share(precision: str, threads: int) -> int:
    """Images in a full batch of one lane."""
    ready = encode.engine(full_size.model(), precision, threads)
    return min(ready.largest, lane_share(encode.BATCH, ready.parallel))


def _model(precision: str, threads: int) -> dict[str, Any]:
    model = {
        "directory": str(full_size.checkpoint()),
        "device": "cpu",
        "precision": precision,
        "threads": threads,
    }
    if precision == "int8":
        model["calibration"] = str(full_size.calibration())
    return {"model": model}


def _ours(server: Server, folder: Path, files: list[bytes], seconds: float) -> tuple[float, float]:
    """Images a second, and images in a batch."""
    bodies = []
    for number, body in enumerate(files):
        file = folder / f"{number:04}.jpg"
        file.write_bytes(body)
        bodies.append(str(file))
    load = Load(
        server.port, "/v1/classify", "image/jpeg", bodies, seconds, WARM_S, concurrency=CONCURRENCY
    )

    def counted() -> tuple[float, float]:
        name = metrics.BATCH_SIZE.name
        return server.metric(f"{name}_sum"), server.metric(f"{name}_count")

    images, batches = counted()
    answers = send(load, folder)
    images_now, batches_now = counted()
    if not set(answers.statuses) <= {200, 429}:
        raise RuntimeError(f"answered with the statuses {answers.statuses}")
    return answers.of(200).rate, (images_now - images) / (batches_now - batches)
