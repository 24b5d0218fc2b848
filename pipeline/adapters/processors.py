"""The number of processors that this process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

OWN_CGROUPS = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")


def available_processors() -> int:
    """The least of the affinity and the quotas of the process's cgroups (Linux, both versions),
    rounded, at least 1."""
    # Not every platform has affinities.
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, round(min([affine or 1, *_quotas()])))


def _quotas() -> Iterator[float]:
    """Quotas, in processors, of the process's cgroup and the visible cgroups above it.

    Source: cgroups(7). In a container whose own group is mounted as the root, the path may be the
    host's. A path that does not exist has no quota.
    """
    with contextlib.suppress(OSError):  # not Linux
        for line in OWN_CGROUPS.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            group = PurePosixPath(path)
            for each in (group, *group.parents):
                inside = each.as_posix().lstrip("/")
                if number == "0":
                    yield from _quota(MOUNTED / inside / "cpu.max")
                elif "cpu" in controllers.split(","):
                    within = MOUNTED / "cpu" / inside
                    yield from _quota(within / "cpu.cfs_quota_us", within / "cpu.cfs_period_us")


def _quota(*files: Path) -> Iterator[float]:
    """The quota from files that hold quota and period in microseconds. None if there is no
    limit."""
    # ValueError: "max". Version 1 says -1.
    with contextlib.suppress(OSError, ValueError):
        quota, period = map(int, " ".join(file.read_text() for file in files).split())
        if quota > 0:
            yield quota / period
