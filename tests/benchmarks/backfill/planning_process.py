"""The process that plans: prints what it took, as JSON. With settings, source, output, and outputs
of earlier jobs."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.backfill.policy import GPU_SHARD_ROWS
from workers.backfill.output import Output, open_output
from workers.backfill.planning import plan
from workers.backfill.planning_request import Request
from workers.settings.loading import load_settings


@dataclass(frozen=True, slots=True)
class Planned:
    """``memory_mib`` is the most that the process ever had."""

    rows: int
    shards: int
    seconds: float
    cpu_s: float
    memory_mib: float


def main() -> None:
    file, source, output, *since = sys.argv[1:]
    settings = load_settings(Path(file), environment={})
    request = Request.of(source, since=tuple(since))
    began, cpu = time.monotonic(), time.process_time()
    with contextlib.closing(open_output(settings, Output.of(output))) as folder:
        job = plan(settings, folder, request, GPU_SHARD_ROWS)
    assert job is not None
    took, spent = time.monotonic() - began, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(asdict(Planned(job.rows, job.shards, took, spent, most))))


if __name__ == "__main__":
    main()
