"""The driver of a backfill stays light: the model's libraries are the workers' alone."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "PIL")

DRIVER = f"""
import sys
from functools import partial

import ray.cloudpickle
import workers.cli
import workers.commands.backfill.typed.running
from workers.cluster.actors import Cluster
from workers.commands.backfill import driver, dry_run, new_job, retrying

# What the driver sends to its workers.
ray.cloudpickle.dumps(partial(driver.build_backfill_worker, None, None))
print([name for name in {HEAVY} if name in sys.modules])
"""


def test_a_backfills_driver_does_not_load_the_models_libraries() -> None:
    found = subprocess.run(
        [sys.executable, "-c", DRIVER], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
