"""One of the stream workers that ``gpu_workers`` measures: as a Ray actor of as many would be."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.rigs.until_sigterm import run_until_sigterm
from workers.cluster import heap
from workers.cluster.fitting import fitted
from workers.logs import configure_logging
from workers.settings.loading import load_settings
from workers.stream.wiring import build_stream_worker

STOP_S = 1.0
"""What is under way is of no use any more."""


def main() -> None:
    """Work by the settings of the file until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True, help="that share this machine")
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings, environment={})
    configure_logging(settings.log, "worker")
    settings, _ = fitted(settings, len(os.sched_getaffinity(0)), arguments.workers)
    built = build_stream_worker(settings, arguments.slot)
    heap.freeze()
    run_until_sigterm(built, STOP_S)


if __name__ == "__main__":
    main()
