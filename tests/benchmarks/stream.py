"""`python -m tests.benchmarks.stream`: a whole stream worker against encoding alone, and the peers.

The worker is the product's, exactly once on a real Kafka and a real S3 server, with photographs and
a full-size ViT-B/32 of seeded random weights; its settings are the defaults but for the precision.
In turns: the worker in each precision, the encoder alone in the same precision, and each peer on
the same photographs in memory. Broker and store run on the same processors as the worker: what they
take is shown apart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.console import Console

from tests.benchmarks import counted_worker, full_size, peers
from tests.benchmarks.encode import BATCH, SIDE, engine, precisions
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.lanes import calls_per_second
from tests.benchmarks.peer_environments import UnavailableError
from tests.benchmarks.worker_rig import Bench, bench
from tests.decoding_rig import photos

ROUNDS = 3
ALONE_S = 6.0
RUN_S = 16.0
"""Of counted images, roughly; the first ``WARM`` are not counted."""
WARM = 64
PEER_IMAGES = 96
GOAL_OF_ALONE = {"fp32": 0.93, "int8": 0.85}
GOAL_OF_PEER = {"fp32": 1.6, "int8": 4.0}
"""Times the zero-shot pipeline with batches of 32."""
GOAL_PEERS = ("pipeline_32",)
"""What has a goal is measured in every round; the rest in the first."""


def measure(
    rounds: int = ROUNDS,
    names: Sequence[str] = peers.NAMES,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Figure]:
    """Everything in turns; some minutes."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    files = photos()
    rates: dict[str, list[float]] = defaultdict(list)
    with contextlib.ExitStack() as owned:
        alone = {each: _alone(each, threads) for each in precisions()}
        images = {each: int(rate() * RUN_S) for each, rate in alone.items()}
        objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(files)}
        running = owned.enter_context(bench(objects, WARM, max(images.values())))
        turns = _peers(names, owned, tell)
        for number in range(rounds):
            for precision, rate in alone.items():
                if number > 0 and precision not in GOAL_OF_ALONE:
                    continue
                before = rate()
                _worker(running, precision, images[precision], threads, rates)
                rates[f"encode.{precision}"].append((before + rate()) / 2)
            for peer, turn in turns.items():
                if number == 0 or peer in GOAL_PEERS:
                    rates[f"peer.{peer}"].append(turn(PEER_IMAGES))
            tell(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.3g}" for k, v in rates.items()))
    return _figures(rates)


def _peers(
    names: Sequence[str], owned: contextlib.ExitStack, tell: Callable[[str], None]
) -> dict[str, Callable[[int], float]]:
    """Those that can be installed here; others are told, and have no figures."""
    turns = {}
    for name in names:
        try:
            turns[name] = owned.enter_context(peers.running(name, full_size.checkpoint(), tell))
        except UnavailableError as problem:
            tell(f"goes on without the peer {problem}")
    return turns


def _worker(
    running: Bench, precision: str, images: int, threads: int, rates: dict[str, list[float]]
) -> None:
    model = {
        "directory": str(full_size.checkpoint()),
        "device": "cpu",
        "precision": precision,
        "threads": threads,
    }
    if precision == "int8":
        model["calibration"] = str(full_size.calibration())
    options = ["--beside", *map(str, running.services)]
    spent = running.worker(
        counted_worker.__name__, {"model": model}, images=images, options=options
    )
    taken_s = spent.beside_cpu_s / spent.images
    rates[f"stream.{precision}"].append(spent.rate)
    rates[f"services.{precision}"].append(1000 * taken_s)
    # Were they elsewhere, each image would have so much more of the processors.
    elsewhere = 1 / (1 / spent.rate - taken_s / threads)
    rates[f"stream.{precision}.services_elsewhere"].append(elsewhere)


def _alone(precision: str, threads: int) -> Callable[[], float]:
    """Images a second of the encoder with nothing beside it."""
    ready = engine(full_size.model(), precision, threads, compiled=False)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    return lambda: BATCH * calls_per_second(lambda: ready.encode(pixels), ready.lanes, ALONE_S)


def _figures(rates: dict[str, list[float]]) -> list[Figure]:
    def ratio(over: str, under: str) -> float:
        return statistics.median(
            own / other for own, other in zip(rates[over], rates[under], strict=False)
        )

    units = {"services": "ms/image"}
    figures = [
        Figure(name, statistics.median(each), units.get(name.partition(".")[0], "images/s"))
        for name, each in rates.items()
    ]
    for precision in precisions():
        ours = f"stream.{precision}"
        for way, goal in (
            (ours, GOAL_OF_ALONE.get(precision)),
            (f"{ours}.services_elsewhere", None),
        ):
            share = ratio(way, f"encode.{precision}")
            figures.append(Figure(f"{way}.of_encode", share, "of encode alone", goal))
        for peer in (name for name in rates if name.startswith("peer.")):
            goal = GOAL_OF_PEER.get(precision) if peer.removeprefix("peer.") in GOAL_PEERS else None
            figures.append(Figure(f"{ours}.over_{peer}", ratio(ours, peer), "times", goal))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--peers", nargs="*", choices=peers.NAMES, default=list(peers.NAMES))
    arguments = parser.parse_args()
    console = Console(markup=False)  # installers' words have brackets
    figures = measure(arguments.rounds, arguments.peers, console.print)
    show(figures, "A whole stream worker", console)


if __name__ == "__main__":
    main()
