"""The process that ``tracing`` measures: what a worker's calls of its tracer cost, and the sending
of the spans. Prints microseconds of CPU an image."""

from __future__ import annotations

import argparse
import random
import time

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.kafka.policy import Member
from pipeline.adapters.opentelemetry.policy import TracingPolicy
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import STREAM_WORKER
from pipeline.ports import Tracer
from pipeline.records import Origin, Partition, Position
from workers.settings.loading import Settings
from workers.stream.wiring import tracer_of

STAGES = ("fetch", "decode", "queue", "encode", "score", "publish")
PER_COMMIT = 500
WARM = 20_000
SEED = 7


def origins(images: int, senders_share: float | None) -> list[Origin]:
    """``senders_share``: of the senders' traces that are sampled; None: records have no trace."""
    rng = random.Random(SEED)
    found = []
    for number in range(images):
        trace = None
        if senders_share is not None:
            sampled = rng.random() < senders_share
            trace = f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-0{sampled:d}"
        position = Position(Partition("uploads", number % 4), number)
        found.append(Origin(position, 0, 0, traceparent=trace))
    return found


def trace(tracer: Tracer, images: list[Origin]) -> None:
    clock = SystemClock()
    for first in range(0, len(images), PER_COMMIT):
        traces = [tracer.begin(origin) for origin in images[first : first + PER_COMMIT]]
        for stage in STAGES:
            for each in traces:
                each.enter(stage)
        tracer.committed(traces, clock.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--off", action="store_true")
    parser.add_argument("--senders-share", type=float)
    arguments = parser.parse_args()
    settings = Settings(tracing=TracingPolicy(enabled=not arguments.off))
    meter = PrometheusMeter(STREAM_WORKER)
    count = arguments.images
    warm = origins(min(WARM, count), arguments.senders_share)
    images = origins(count, arguments.senders_share)
    with tracer_of(settings, Member("clipstream", "benchmark", "here", 0), meter) as tracer:
        trace(tracer, warm)
        started_s = time.process_time()
        trace(tracer, images)
    # The last spans are sent at the end of the block.
    print(1e6 * (time.process_time() - started_s) / count)


if __name__ == "__main__":
    main()
