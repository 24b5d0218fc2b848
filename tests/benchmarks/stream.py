"""`python -m tests.benchmarks.stream`: a whole stream worker against encoding alone, and the peers.

The worker is the product's, exactly once on a real Kafka and a real S3 server, with photographs and
a full-size ViT-B/32 of seeded random weights; its settings are the defaults but for the precision
and how many images it holds. In turns: the worker in each precision, the encoder alone in the same
precision, and each peer on the same photographs in memory. Broker and store run on the same
processors as the worker: what they take is shown apart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from rich.console import Console

from tests.benchmarks import counted_worker, full_size, peers
from tests.benchmarks.encode import BATCH, SIDE, engine, precisions
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.lanes import calls_per_second
from tests.benchmarks.worker_rig import Bench, bench
from tests.rigs.stages.decoding import photos

ROUNDS = 3
ALONE_S = 4.0
RUN_S = 11.0
"""Of counted images, roughly; the first ``WARM`` are not counted."""
WARM = 256
"""As many as the worker holds at a time: while images are counted, as many are decoded as are
encoded."""
PEER_IMAGES = 96
GOAL_OF_ALONE = {"fp32": 0.93, "int8": 0.85}
GOAL_OF_PEER = {"fp32": 1.6, "int8": 4.0}
"""Times ``GOAL_PEER``."""
GOAL_PEER = "pipeline_32"
"""Measured after each worker. What has no goal is measured in the first round alone."""


def measure(
    rounds: int = ROUNDS,
    names: Sequence[str] = peers.NAMES,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Figure]:
    """Everything in turns; some minutes."""
    threads = len(os.sched_getaffinity(0))
    files = photos()
    rates: Rates = defaultdict(list)
    ratios: Rates = defaultdict(list)
    with contextlib.ExitStack() as owned:
        alone = {each: encoder_rate(each, threads) for each in precisions()}
        images = {each: int(rate() * RUN_S) for each, rate in alone.items()}
        objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(files)}
        running = owned.enter_context(bench(objects, WARM, max(images.values())))
        turns = owned.enter_context(peers.running(names, full_size.checkpoint(), tell))
        for number in range(rounds):
            for precision, rate in alone.items():
                if number > 0 and precision not in GOAL_OF_ALONE:
                    continue
                before = rate()
                worker_turn(running, precision, images[precision], threads, rates)
                rates[f"encode.{precision}"].append((before + rate()) / 2)
                if GOAL_PEER in turns:
                    _peer(GOAL_PEER, turns[GOAL_PEER], [precision], rates, ratios)
            for peer, turn in turns.items():
                if number == 0 and peer != GOAL_PEER:
                    _peer(peer, turn, alone, rates, ratios)
            tell(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.3g}" for k, v in rates.items()))
    return _figures(rates, ratios)


Rates = dict[str, list[float]]


def _peer(
    name: str, turn: peers.Turn, precisions: Iterable[str], rates: Rates, ratios: Rates
) -> None:
    """A peer's turn, against the worker's last in these precisions."""
    rate = turn(PEER_IMAGES)
    rates[f"peer.{name}"].append(rate)
    for precision in precisions:
        ours = f"stream.{precision}"
        ratios[f"{ours}.over_peer.{name}"].append(rates[ours][-1] / rate)


def worker_turn(running: Bench, precision: str, images: int, threads: int, rates: Rates) -> None:
    """One run of the worker, counted in ``rates`` as ``stream.PRECISION`` and beside it."""
    model = {
        "directory": str(full_size.checkpoint()),
        "device": "cpu",
        "precision": precision,
        "threads": threads,
    }
    if precision == "int8":
        model["calibration"] = str(full_size.calibration())
    changed = {"model": model, "flow": {"max_in_flight": WARM}}
    options = ["--beside", *map(str, running.services)]
    spent = running.worker(counted_worker.__name__, changed, images=images, options=options)
    taken_s = spent.beside_cpu_s / spent.images
    rates[f"stream.{precision}"].append(spent.rate)
    rates[f"services.{precision}"].append(1000 * taken_s)
    # Were they elsewhere, each image would have so much more of the processors.
    elsewhere = 1 / (1 / spent.rate - taken_s / threads)
    rates[f"stream.{precision}.services_elsewhere"].append(elsewhere)


def encoder_rate(precision: str, threads: int) -> Callable[[], float]:
    """Images a second of the encoder with nothing beside it."""
    ready = engine(full_size.model(), precision, threads)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    batch = pixels[: ready.largest]  # a lane's

    def rate() -> float:
        return len(batch) * calls_per_second(lambda: ready.encode(batch), ready.lanes, ALONE_S)

    return rate


def _figures(rates: Rates, ratios: Rates) -> list[Figure]:
    units = {"services": "ms/image"}
    figures = [
        Figure.median(name, each, units.get(name.partition(".")[0], "images/s"))
        for name, each in rates.items()
    ]
    for precision in precisions():
        ours = f"stream.{precision}"
        for way, goal in (
            (ours, GOAL_OF_ALONE.get(precision)),
            (f"{ours}.services_elsewhere", None),
        ):
            pairs = zip(rates[way], rates[f"encode.{precision}"], strict=True)
            shares = (own / alone for own, alone in pairs)
            figures.append(Figure.median(f"{way}.of_encode", shares, "of encode alone", goal))
        for name, each in ratios.items():
            if name.startswith(f"{ours}."):
                goal = GOAL_OF_PEER.get(precision) if name.endswith(GOAL_PEER) else None
                figures.append(Figure.median(name, each, "times", goal))
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
