"""A prober that waits no longer for its answer."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.request

import pytest

from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import DRIVER_METRICS
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.policy import EndpointsPolicy
from workers.supervise.standing import NOTHING_YET

WAIT_S = 20.0
RESET = struct.pack("ii", 1, 0)
"""Close at once, so that an answer meets no connection."""


def test_a_prober_that_hangs_up_leaves_no_trace_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked, hung_up = threading.Event(), threading.Event()

    def healthy() -> bool:
        asked.set()
        return hung_up.wait(WAIT_S)

    endpoint = HealthEndpoint(
        EndpointsPolicy(health_port=0),
        healthy,
        lambda: NOTHING_YET,
        PrometheusMeter(DRIVER_METRICS).registry,
    )
    try:
        with socket.create_connection(("127.0.0.1", endpoint.port)) as prober:
            prober.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            prober.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert asked.wait(WAIT_S)
        hung_up.set()
        with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/healthz") as later:
            assert later.status == 200
    finally:
        endpoint.close()
    assert capsys.readouterr().err == ""
