"""The process whose latency is measured: a whole stream worker that keeps every stage's times."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import STAGE_SECONDS, Metric
from tests.rigs.until_sigterm import run_until_sigterm
from workers.cluster import heap
from workers.logs import configure_logging
from workers.settings.loading import load_settings
from workers.stream import wiring

GRACE_S = 20.0


class Recorder(PrometheusMeter):
    """The worker's meter; when stages ended, and what they took, is kept as it comes."""

    taken: ClassVar[defaultdict[str, list[tuple[float, float]]]] = defaultdict(list)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        super().observe(metric, value, **labels)
        if metric is STAGE_SECONDS:
            self.taken[labels["stage"]].append((time.time(), round(value, 5)))


def main() -> None:
    """Work by the settings of the file that is named first, until SIGTERM; then write the times of
    each stage, in seconds, to the second."""
    settings = load_settings(Path(sys.argv[1]), environment={})
    configure_logging(settings.log, "worker")
    vars(wiring).update(PrometheusMeter=Recorder)
    built = wiring.build_stream_worker(settings, 0)
    heap.freeze()
    try:
        run_until_sigterm(built, GRACE_S)
    finally:
        Path(sys.argv[2]).write_text(json.dumps(Recorder.taken))


if __name__ == "__main__":
    main()
