"""`make tracing`: what traces cost a stream worker, in CPU time.

The tracer is called as a worker calls it, and its spans go to a real receiver in another process.
That cost is compared with the CPU time of the worker of ``between`` without traces, in the same
rounds. Two runs of a whole worker, with and without traces, differ by more than the cost.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass

from rich.console import Console

from tests.benchmarks import between, between_worker, tracing_process
from tests.benchmarks.between import objects
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.worker_rig import Bench, bench
from tests.rigs.services.otlp_receiver import OtlpReceiver
from workers.embedded.processes import command_environment

SAMPLED = 0.01
CALLS = 50_000
"""Images of a run of the tracer alone."""
ALL_CALLS = 2_000
"""The same, when every image is sampled."""
ROUNDS = 3


@dataclass(frozen=True)
class Round:
    """Microseconds of CPU an image."""

    worker: float
    """Without traces, decoding and encoding."""
    off: float
    sampler: float
    """1 % of records without a trace."""
    senders: float
    """1 % of the senders' traces."""
    every: float
    """All records, without a trace."""


def sampler(share: float) -> dict[str, str]:
    return {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(share),
    }


def alone(images: int, *options: str, share: float = SAMPLED) -> float:
    """Microseconds of CPU an image of the tracer alone."""
    command = [sys.executable, "-m", tracing_process.__name__, "--images", str(images), *options]
    # A queue that is never full, so that all spans are paid for.
    environment = command_environment() | sampler(share) | {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000"}
    ran = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(ran.stdout)


def worker(running: Bench, *, enabled: bool) -> float:
    """Microseconds of CPU an image of the worker's process."""
    changed = {"tracing": {"enabled": enabled}}
    return running.worker(between_worker.__name__, changed).us_per_image


def measure(images: int = between.IMAGES, rounds: int = ROUNDS) -> list[Figure]:
    """Needs Java's and Go's caches as the tests do; some minutes."""
    with OtlpReceiver() as receiver, bench(objects(), between.WARM, images) as running:
        os.environ.update(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **sampler(SAMPLED))
        worker(running, enabled=True)
        assert receiver.named("commit"), "a whole worker sends its traces"
        measured = [
            Round(
                worker(running, enabled=False),
                alone(CALLS, "--off"),
                alone(CALLS),
                alone(CALLS, "--senders-share", str(SAMPLED)),
                alone(ALL_CALLS, share=1.0),
            )
            for _ in range(rounds)
        ]
    return [
        Figure.median("tracing.worker", (each.worker for each in measured), "us/image"),
        Figure.median("tracing.off", (each.off for each in measured), "us/image"),
        Figure.median("tracing.sampler", (each.sampler for each in measured), "us/image"),
        Figure.median("tracing.senders", (each.senders for each in measured), "us/image"),
        Figure.median("tracing.every", (each.every for each in measured), "us/image"),
        Figure.median(
            "tracing.share",
            (each.sampler / each.worker for each in measured),
            "of the worker",
        ),
        Figure.median(
            "tracing.share_senders",
            (each.senders / each.worker for each in measured),
            "of the worker",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="tracing")
    parser.add_argument("--images", type=int, default=between.IMAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    show(measure(arguments.images, arguments.rounds), "Traces", Console())


if __name__ == "__main__":
    main()
