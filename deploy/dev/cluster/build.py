"""Builds the cluster's programs, once: 20 minutes of processor time."""

from __future__ import annotations

import argparse
import sys

from deploy.dev import go_programs
from deploy.dev.cluster import programs
from workers.embedded.processes import ServiceError

WHAT_IT_NEEDS = (
    f"the cluster's programs are built once, by a Go toolchain ({go_programs.GO_VERSION} or newer, "
    "`go` on the PATH)"
)


def main() -> int:
    argparse.ArgumentParser(prog="deploy.dev.cluster.build", description=__doc__).parse_args()
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


if __name__ == "__main__":
    sys.exit(main())
