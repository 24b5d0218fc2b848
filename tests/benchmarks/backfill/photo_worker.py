"""The process of a whole backfill worker that is measured: what its rows took, once it is warm."""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
import uuid
from pathlib import Path

from pipeline.backfill.ledger import Task
from tests.benchmarks.cpu_time import Spending
from tests.benchmarks.worker_rig import BUCKET
from tests.rigs.backfill.planned import planned
from workers.backfill.output import Output, open_output
from workers.backfill.wiring import build_backfill_worker
from workers.backfill.worker import Assignment
from workers.cluster import heap
from workers.logs import configure_logging
from workers.settings.loading import load_settings

LOOK_S = 0.05
STOP_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--warm", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--beside", type=int, nargs="*", default=[], help="processes to count")
    parser.add_argument("--keys", type=int, required=True, help="how many objects there are")
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings, environment={})
    configure_logging(settings.log, "worker")
    place = Output(BUCKET, f"derived/{arguments.output.stem}/")
    # As long again, so that the counted rows are not the last ones of a shard.
    rows = 2 * (arguments.warm + arguments.images)
    keys = [f"photos/{number % arguments.keys:04}.jpg" for number in range(rows)]
    with contextlib.closing(open_output(settings, place)) as folder:
        job = planned(folder, BUCKET, keys, rows // 2, id=str(uuid.uuid4()))
    built = build_backfill_worker(place, job, settings, 0)
    worker = built.worker
    worker.tell(Assignment((Task(0), Task(1)), ()))

    def classified(at_least: int) -> int:
        while (count := worker.health().rows) < at_least:
            time.sleep(LOOK_S)
        return count

    def watch() -> None:
        spending = Spending(classified(arguments.warm), 0, arguments.beside)
        done = classified(arguments.warm + arguments.images)
        spending.until(done, 0).save(arguments.output)
        worker.stop(STOP_S)

    threading.Thread(target=watch, name="watching", daemon=True).start()
    heap.freeze()
    try:
        worker.run()
    finally:
        built.close()


if __name__ == "__main__":
    main()
