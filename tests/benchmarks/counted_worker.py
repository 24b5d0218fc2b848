"""The process of a whole stream worker that is measured: what its images took, once it is warm."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.ports import Encoder
from tests.benchmarks.cpu_time import Spending
from workers.cluster import heap
from workers.logs import configure_logging
from workers.settings.loading import Settings, load_settings
from workers.stages import load_encoder
from workers.stream import wiring

LOOK_S = 0.05
STOP_S = 1.0
"""What is under way is of no use any more."""


class Meters(PrometheusMeter):
    """The worker's meter, within reach."""

    made: Meters

    def __init__(self, catalogue: Sequence[metrics.Metric]) -> None:
        super().__init__(catalogue)
        Meters.made = self

    def commits(self) -> int:
        return round(self.registry.get_sample_value(metrics.COMMITS.name) or 0)


def main(load: Callable[[Settings], Encoder] = load_encoder) -> None:
    """Work off the topic, and write down what the images after the first ``warm`` took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--warm", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--beside", type=int, nargs="*", default=[], help="processes to count")
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings, environment={})
    configure_logging(settings.log, "worker")
    vars(wiring).update(PrometheusMeter=Meters)
    built = wiring.build_stream_worker(settings, 0, load)
    worker = built.worker

    def committed(at_least: int) -> int:
        while (count := worker.health().committed) < at_least:
            time.sleep(LOOK_S)
        return count

    def watch() -> None:
        spending = Spending(committed(arguments.warm), Meters.made.commits(), arguments.beside)
        done = committed(arguments.warm + arguments.images)
        spending.until(done, Meters.made.commits()).save(arguments.output)
        worker.stop(STOP_S)

    watching = threading.Thread(target=watch, name="watching", daemon=True)
    watching.start()
    heap.freeze()
    try:
        worker.run()
    finally:
        built.close()


if __name__ == "__main__":
    main()
