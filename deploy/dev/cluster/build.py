"""Builds the cluster's programs, once: 20 minutes of processor time.

``--in-background`` leaves the processors to everybody else, so that `make test` can build beside
tests that judge time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from deploy.dev import go_programs
from deploy.dev.cluster import programs
from workers.embedded.processes import ServiceError

WHAT_IT_NEEDS = (
    f"the cluster's programs are built once, by a Go toolchain ({go_programs.GO_VERSION} or newer, "
    "`go` on the PATH)"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy.dev.cluster.build", description=__doc__)
    parser.add_argument("--in-background", action="store_true", help="only while nobody computes")
    if parser.parse_args().in_background:
        _yield_to_all()
    if not programs.available():
        print(f"no cluster: {WHAT_IT_NEEDS}")
        return 0
    try:
        for path in go_programs.built(programs.EVERY_RUN):
            print(path)
        print(programs.custom_resources())
    except ServiceError as problem:
        print(problem)
        return 1
    return 0


def _yield_to_all() -> None:
    """Run, with all children, only on a processor that has nothing else to do (Linux)."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # The kernel may share processors among sessions first: then this one's weight counts too.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


if __name__ == "__main__":
    sys.exit(main())
