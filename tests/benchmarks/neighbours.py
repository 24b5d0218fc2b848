"""`python -m tests.benchmarks.neighbours`: whether images wait for one whose object comes late.

A whole stream worker with the demo's small model, at half of its capacity. Loads without late
objects take turns with loads in which one object of a hundred is 10 s late, in the default order
and in that of the partition. Only the latencies of the other objects count. The small model makes
the loads large enough for a 99th percentile; what an image waits for does not depend on the model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from rich.console import Console

from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.commit.order import Order
from tests.benchmarks import latency_worker
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.latency import (
    BATCH,
    HALF,
    HELD,
    SEED,
    START_S,
    Reader,
    Seen,
    Send,
    at_rate,
    backlog,
    worker_of,
)
from tests.benchmarks.worker_rig import BUCKET, PARTITIONS, Bench, bench
from tests.fault.s3_proxy import Fault, S3Proxy
from tests.rigs.stages.decoding import photos
from workers.demo.train import MODEL_DIRECTORY

LABEL_SET = MODEL_DIRECTORY.with_name("labels.yaml")
"""The demo's model knows its words."""
LATE_S = 10.0
LATE_SHARE = 0.01
SECONDS = 20.0
"""Of each load."""
ROUNDS = 4
GOAL = 1.2
"""The 99th percentile beside late objects, in terms of that without."""


def measure(
    seconds: float = SECONDS, tell: Callable[[str], None] = lambda line: None
) -> list[Figure]:
    """Some seven minutes."""
    bodies = photos()
    objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(bodies)}
    late = {f"late/{number:04}.jpg": body for number, body in enumerate(bodies)}
    figures = []
    with contextlib.ExitStack() as owned:
        running = owned.enter_context(bench(objects | late, warm=0, images=0))
        store = owned.enter_context(S3Proxy(running.s3.endpoint, latency_s=LATE_S))
        store.inject(Fault.LATENCY, *late)
        for order in reversed(get_args(Order)[:2]):
            ratios = _beside(running, store, order, [*objects], [*late], seconds, tell)
            goal = GOAL if order == "key" else None
            name = f"neighbours.p99_beside_late_{order}"
            figures.append(Figure.median(name, ratios, "of without", goal, at_least=False))
    return figures


def _beside(
    running: Bench,
    store: S3Proxy,
    order: Order,
    keys: list[str],
    late: list[str],
    seconds: float,
    tell: Callable[[str], None],
) -> list[float]:
    """The 99th percentile of the others beside late objects, as a ratio to that without: of each
    round."""
    changed = {
        "model": {"directory": str(MODEL_DIRECTORY), "device": "cpu"},
        "label_sets": {"paths": [str(LABEL_SET)], "text_cache_dir": None},
        "batch": {"max_size": BATCH},
        "flow": {"max_in_flight": HELD},
        "delivery": {"order": order, "start": "latest"},
        "s3": {
            "endpoint": store.endpoint,
            "region": running.s3.region,
            "allowed_buckets": [BUCKET],
            "read_timeout_s": 2 * LATE_S,
        },
    }
    file, settings = running.settings(f"neighbours-{order}", changed)
    with contextlib.ExitStack() as owned:
        name = owned.enter_context(tempfile.TemporaryDirectory(prefix="clipstream-neighbours-"))
        worker = worker_of(running, settings, file, Path(name) / "stages.json")
        owned.callback(worker.stop, latency_worker.GRACE_S)
        reader = Reader(settings)
        owned.enter_context(reader.reading())
        producer = owned.enter_context(ReferenceProducer(settings.kafka, running.topic))
        worker.start()
        alone, beside = _sending(producer, keys, []), _sending(producer, keys, late)
        backlog(reader, alone, START_S)
        rate = HALF * backlog(reader, alone, START_S)
        ratios = []
        for _ in range(ROUNDS):
            without = at_rate(rate, seconds, reader, alone)[98]
            others = at_rate(rate, seconds, reader, beside, _is_not_late)[98]
            tell(
                f"order of the {order}, {rate:.1f} images/s: p99 {without:.3f} s, of the others "
                f"beside late ones {others:.3f} s"
            )
            ratios.append(others / without)
    return ratios


def _is_not_late(seen: Seen) -> bool:
    return not seen.key.startswith("late/")


def _sending(producer: ReferenceProducer, keys: list[str], late: list[str]) -> Send:
    """Sends references of one key of Kafka each, so that only a partition has an order."""
    rng = random.Random(SEED)

    def send() -> None:
        is_late = late and rng.random() < LATE_SHARE
        reference = {
            "bucket": BUCKET,
            "key": rng.choice(late if is_late else keys),
            "id": str(round(time.time() * 1000)),
        }
        key = str(rng.random()).encode()
        producer.send(key, json.dumps(reference).encode(), partition=rng.randrange(PARTITIONS))

    return send


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    console = Console()
    figures = measure(parser.parse_args().seconds, console.print)
    show(figures, "Beside late objects", console)
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
