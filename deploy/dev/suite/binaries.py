"""Fetches and builds what tests start, before any test runs: Kafka's jars and the archive of their
classes, the S3 server, OpenAI's client for JavaScript, the tools that build a release, Prometheus.

All are kept in the user's cache. Without a Go toolchain the tests that need the S3 server skip
themselves, and fail in CI; so do the tests that need JavaScript, without node and npm, and those of
the alerts, without Debian's tools.
"""

from __future__ import annotations

import sys

from deploy.dev import class_archive, javascript_client, sbom, versitygw
from deploy.dev.monitoring import promtool
from workers.embedded.jars import KAFKA_VERSION, kafka_jars
from workers.embedded.processes import ServiceError


def main() -> int:
    """0: all is there, or its tests can skip themselves; 1: something could not be had."""
    try:
        kafka_jars()
        print(f"Apache Kafka {KAFKA_VERSION} is there, its classes in {class_archive.written()}")
        if versitygw.available():
            print(f"the S3 server is {versitygw.binary()}")
        else:
            print(f"no S3 server: {versitygw.WHAT_IT_NEEDS}")
        if javascript_client.available():
            print(f"the client for JavaScript is in {javascript_client.modules()}")
        else:
            print(f"no client for JavaScript: {javascript_client.WHAT_IT_NEEDS}")
        print(f"the tools that build a release are in {sbom.tools()}")
        if promtool.available():
            print(f"promtool is {promtool.program('promtool')}")
        else:
            print(f"no promtool: {promtool.WHAT_IT_NEEDS}")
    except ServiceError as problem:
        print(problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
