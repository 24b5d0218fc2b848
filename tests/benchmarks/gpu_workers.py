"""`make gpu-workers`: what whole stream workers do that share one CUDA device, by their number.

Each worker is the product's, exactly once on a real Kafka and a real S3 server, with photographs
and a full-size ViT-B/32 of seeded random weights. Its settings are the defaults, but for those that
the arguments change. Broker and store run on the same processors. A rate is that of the offsets
that the group commits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.adapters.kafka.admin import KafkaAdmin
from tests.benchmarks import full_size, sharing_worker
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.scaling import busy_and_all, in_use_since
from tests.benchmarks.worker_rig import Bench, bench
from tests.rigs.services.kafka_deployment import retrying
from tests.rigs.stages.decoding import jpegs, photos
from tests.rigs.waiting import eventually
from workers.embedded.processes import command_environment

WORKERS = (1, 2, 3, 4)
PARTITIONS = 24
"""As many for each worker, whatever their number."""
REFERENCES = 150_000
READY_S = 300.0
"""Until all have loaded the model and recorded its batches."""
WARM_S = 6.0
SECONDS = 15.0
LOOK_S = 1.0
END_S = 60.0


@dataclass(frozen=True)
class Point:
    """So many workers. ``cpu`` is the share of the machine's processors in use, ``device`` the
    share of time in which the device computed, ``device_mib`` what one worker takes of its memory.
    """

    workers: int
    rate: float
    cpu: float
    device: float
    device_mib: float


def measure(
    files: Sequence[bytes],
    workers: Sequence[int],
    changed: Mapping[str, Any],
    seconds: float,
    tell: Callable[[Point], None],
) -> list[Figure]:
    """``changed`` are settings; ``tell`` hears of each number of workers."""
    objects = {f"photos/{number:04}.jpg": body for number, body in enumerate(files)}
    figures = []
    with bench(objects, warm=0, images=REFERENCES, partitions=PARTITIONS) as running:
        for number in workers:
            point = _point(running, number, changed, seconds)
            tell(point)
            name = f"gpu_workers.{number}"
            figures += [
                Figure(f"{name}.rate", point.rate, "images/s"),
                Figure(f"{name}.processors", point.cpu, "of their time"),
                Figure(f"{name}.device", point.device, "of its time"),
                Figure(f"{name}.device_memory", point.device_mib, "MiB a worker"),
            ]
    return figures


def _point(running: Bench, number: int, changed: Mapping[str, Any], seconds: float) -> Point:
    file, settings = running.settings(f"sharing-{number}", changed)
    _, free = _device()
    with KafkaAdmin(settings.kafka) as admin:
        retrying(lambda: admin.initialise_group(admin.facts(), "earliest"))
        with _workers(file, number) as processes:

            def all_work() -> bool:
                assert all(process.poll() is None for process in processes), "a worker ended"
                (group,) = admin.client.describe_groups([settings.kafka.group]).values()
                return len(group["members"]) == number and group["group_state"] == "Stable"

            # A worker joins once its model is ready.
            eventually(all_work, READY_S, interval_s=LOOK_S)
            time.sleep(WARM_S)
            left, since, first = admin.lag(), time.monotonic(), busy_and_all()
            looks = []
            while time.monotonic() < since + seconds:
                looks.append(_device())
                time.sleep(LOOK_S)
            taken = time.monotonic() - since
            rate = (left - (now := admin.lag())) / taken
            cpu = in_use_since(first)
            assert now > 0, f"{REFERENCES} references were too few"
    use, used = (statistics.mean(each) for each in zip(*looks, strict=True))
    return Point(number, rate, cpu, use, (used - free) / number)


@contextlib.contextmanager
def _workers(file: Path, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", sharing_worker.__name__, str(file), "--workers", str(number)]
    processes = [
        subprocess.Popen([*command, "--slot", str(slot)], env=command_environment())
        for slot in range(number)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(END_S)


def _device() -> tuple[float, float]:
    """The share of the last second in which the device computed, and the MiB in use."""
    query = "--query-gpu=utilization.gpu,memory.used"
    told = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader,nounits"],
        capture_output=True,
        check=True,
        text=True,
    )
    use, used = told.stdout.splitlines()[0].split(",")
    return float(use) / 100, float(used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="gpu-workers")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--mode", default="strict", choices=("strict", "fast"), help="of decoding")
    parser.add_argument("--batch", type=int, help="largest; by default what fits the node")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each number of workers")
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs; by default the test data's")
    arguments = parser.parse_args()
    files = jpegs(arguments.photos) if arguments.photos else photos()
    changed = {
        "model": {"directory": str(full_size.checkpoint()), "device": "cuda"},
        "decode": {"mode": arguments.mode},
        "batch": {"max_size": arguments.batch},
    }
    console = Console(width=160)

    def tell(point: Point) -> None:
        console.print(
            f"{point.workers} workers, {arguments.mode}: {point.rate:,.0f} images/s; "
            f"{point.cpu:.0%} of the processors, {point.device:.0%} of the device, "
            f"{point.device_mib:,.0f} MiB of it for each"
        )

    figures = measure(files, arguments.workers, changed, arguments.seconds, tell)
    cores = len(os.sched_getaffinity(0))
    show(figures, f"Stream workers that share a CUDA device, {cores} cores", console)


if __name__ == "__main__":
    main()
