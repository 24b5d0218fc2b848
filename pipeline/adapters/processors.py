"""How many processors this process may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_processors() -> int:
    """By affinity and by the container's quota (cgroup v2), rounded; 1 at least."""
    # Not every platform has affinities.
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processors = float(affine or 1)
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or "max": no quota
        quota, period = CGROUP_QUOTA.read_text().split()
        processors = min(processors, int(quota) / int(period))
    return max(1, round(processors))
