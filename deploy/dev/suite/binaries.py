"""Fetches and builds what tests start, before any test runs: Kafka's jars, the S3 server.

Both are kept in the user's cache. Without a Go toolchain the tests that need the S3 server skip
themselves, and fail in CI.
"""

from __future__ import annotations

import sys

from deploy.dev import versitygw
from workers.embedded.jars import KAFKA_VERSION, kafka_jars
from workers.embedded.processes import ServiceError


def main() -> int:
    """0: all is there, or its tests can skip themselves; 1: something could not be had."""
    try:
        kafka_jars()
        print(f"Apache Kafka {KAFKA_VERSION} is there")
        if versitygw.available():
            print(f"the S3 server is {versitygw.binary()}")
        else:
            print(f"no S3 server: {versitygw.WHAT_IT_NEEDS}")
    except ServiceError as problem:
        print(problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
