"""A cluster and its Ray Serve that others use too: the driver ends its own application alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.rigs.root import ROOT
from tests.rigs.serve import steered
from tests.rigs.serve.on_ray import BUSY, ServedOnRay, ask, served_on_ray
from tests.rigs.services.ray_nodes import ray_nodes
from workers.embedded.processes import free_ports
from workers.supervise.supervisor import ExitCode

pytestmark = pytest.mark.component

# The cluster's processes read it too, so that no replica waits for load balancers.
SERVE = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5", "RAY_SERVE_ENABLE_HA_PROXY": "0"}


class Shared:
    """A cluster with another application on it."""

    def __init__(self, address: str, port: int) -> None:
        self.environment = {**BUSY, **SERVE, "RAY_ADDRESS": address}
        self.port = port
        subprocess.run(
            [sys.executable, "-m", "tests.rigs.serve.other_app", str(port)],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            check=True,
            timeout=200,
        )

    @property
    def other(self) -> bytes:
        """What the other application answers."""
        return ask(self.port, "/other", method="GET").body

    def settings(self, **workers: object) -> dict[str, object]:
        # Another port than the one that Ray Serve has already.
        return {"serve": {"proxy": "python"}, "workers": workers}


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with ray_nodes({**BUSY, **SERVE, "PYTHONPATH": str(ROOT)}) as nodes:
        nodes.add(num_cpus=4)
        yield Shared(nodes.address, *free_ports(1))


def crashed(server: ServedOnRay) -> int:
    """Kill the replica; the driver's exit code."""
    ((_, process),) = server.replicas().values()
    os.kill(process, signal.SIGKILL)
    return server.exit_code()


def test_a_crash_loop_ends_the_driver_and_its_application_alone(shared: Shared) -> None:
    assert shared.other == b"still here"
    with served_on_ray(shared.settings(max_crashes=1), shared.environment) as server:
        server.wait_until_ready()
        assert f"listens on 127.0.0.1:{shared.port} instead" in server.told
        assert ask(shared.port).status == 200
        with served_on_ray(shared.settings(), shared.environment) as second:
            assert second.exit_code() == ExitCode.HALTED
            assert "serve.second_server" in second.told
        assert ask(shared.port).status == 200
        assert crashed(server) == ExitCode.CRASH_LOOP
        assert "serve.crash_loop" in server.told
    assert shared.other == b"still here"
    assert ask(shared.port).status == 404


def test_a_model_that_is_missing_ends_the_driver_with_its_code_and_no_traceback(
    shared: Shared,
) -> None:
    with served_on_ray(shared.settings(), shared.environment, steered.REFUSE) as server:
        assert server.exit_code() == ExitCode.HALTED
        assert "model.not_found: model: it is not there, says the test" in server.told
        assert "Traceback" not in server.told
    assert shared.other == b"still here"
