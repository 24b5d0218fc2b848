"""A driver of a backfill on Ray: `python -m tests.fault.backfill.ray_driver`, with settings,
source, output and the folder of the holds. Run again after any end, it goes on."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from unittest import mock

from pipeline.retry import RetryPolicy
from tests.fault.backfill import ray_worker
from workers.backfill.planning_request import Request
from workers.commands.backfill import driver, lease
from workers.logs import configure_logging
from workers.settings.loading import load_settings
from workers.supervise import slot

QUICK = RetryPolicy(first_wait_s=0.05, longest_wait_s=0.2)
LEASE_S = 3.0
"""In place of a minute: how long a driver waits for one that was killed."""


def main() -> int:
    file, source, output, holds = sys.argv[1:]
    settings = load_settings(Path(file), environment={})
    configure_logging(settings.log, "driver")
    build = partial(ray_worker.build, Path(holds))
    with (
        mock.patch.object(driver, "build_backfill_worker", build),
        mock.patch.object(lease, "LEASE_S", LEASE_S),
        mock.patch.object(slot, "RESTARTS", QUICK),
    ):
        return int(driver.run_backfill(settings, Request.of(source), output))


if __name__ == "__main__":
    sys.exit(main())
