"""A driver of a backfill whose workers' images cost nothing: `python -m
tests.rigs.backfill.null_driver`, with settings, source, output, a folder for the ids of the
workers' processes, and the seconds that a batch takes."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from unittest import mock

from pipeline.adapters.manifests.kinds import InputKind
from tests.rigs.backfill import null_worker
from workers.backfill.planning_request import Request
from workers.cluster.actors import Cluster
from workers.commands.backfill import driver
from workers.logs import configure_logging
from workers.settings.loading import Settings, load_settings

JOINED = "connected to Ray"
"""What the driver's log says then."""


def _joined(settings: Settings) -> Cluster:
    cluster = Cluster(settings)
    logging.getLogger(__name__).info(JOINED)
    return cluster


def main() -> int:
    file, source, output, pids, batch_s = sys.argv[1:]
    settings = load_settings(Path(file), environment={})
    configure_logging(settings.log, "driver")
    build = partial(null_worker.build, Path(pids), float(batch_s))
    with (
        mock.patch.object(driver, "build_backfill_worker", build),
        mock.patch.object(driver, "Cluster", _joined),
    ):
        request = Request.of(source, InputKind.PARQUET)
        return int(driver.run_backfill(settings, request, output))


if __name__ == "__main__":
    sys.exit(main())
