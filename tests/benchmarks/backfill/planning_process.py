"""The process that plans: prints what it took, as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.adapters.manifests.kinds import Dedupe
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
    copies: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("settings", "source", "output"):
        parser.add_argument(name)
    parser.add_argument("--since", nargs="*", default=[])
    parser.add_argument("--dedupe", type=Dedupe)
    asked = parser.parse_args()
    settings = load_settings(Path(asked.settings), environment={})
    request = Request.of(asked.source, since=tuple(asked.since), dedupe=asked.dedupe)
    began, cpu = time.monotonic(), time.process_time()
    with contextlib.closing(open_output(settings, Output.of(asked.output))) as folder:
        job = plan(settings, folder, request, GPU_SHARD_ROWS)
    assert job is not None
    took, spent = time.monotonic() - began, time.process_time() - cpu
    found = Planned(job.rows, job.shards, took, spent, _most_mib(), job.copies or 0)
    print(json.dumps(asdict(found)))


def _most_mib() -> float:
    """getrusage would count what the process that started this one had."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [each for each in status if each.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
