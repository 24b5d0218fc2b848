"""Starts Ray in a process of its own: a start that is too slow, then one that works. A process that
did this keeps clients of the daemons that were ended: it is of no further use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ray
from ray._private import services

from pipeline.errors import Retry
from tests.rigs.waiting import eventually
from workers.cluster.start import start_ray

CPUS = 3


def daemons() -> list[str]:
    """Names of this process' children that are Ray's."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    names = []
    for child in children:
        stat = Path(f"/proc/{child}/stat").read_text()
        if ") Z " not in stat:
            names.append(stat[stat.index("(") + 1 : stat.rindex(")")])
    return [name for name in names if name in ("gcs_server", "raylet")]


def too_slow(*_: object) -> None:
    raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does


def main() -> None:
    before, get_node = daemons(), services.get_node
    services.get_node = too_slow
    try:
        start_ray(CPUS)
    except Retry as failure:
        print(failure)
    else:
        sys.exit("the start that was too slow is none")
    services.get_node = get_node
    eventually(lambda: daemons() == before)
    start_ray(CPUS)
    print(f"{ray.cluster_resources()['CPU']:g} CPUs")  # type: ignore[no-untyped-call]
    ray.shutdown()


if __name__ == "__main__":
    main()
