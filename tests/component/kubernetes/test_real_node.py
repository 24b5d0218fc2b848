"""The real node: a pod runs, sees what it should of this machine, and leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.cluster.node.kubelet import NAME
from tests.rigs.kubernetes.pods import ANY_USER, READY_S, STAY, phase, pod, run_to_end
from tests.rigs.waiting import eventually

pytestmark = [pytest.mark.component, pytest.mark.kubelet]


@pytest.fixture
def two_gpus(real: Kubectl) -> Iterator[None]:
    """The node offers two GPUs, to the scheduler alone: there is no device behind them."""
    for number in ("2", None):
        offered = {"nvidia.com/gpu": number}
        real.patch_status("node", NAME, {"capacity": offered, "allocatable": offered})
        if number:
            yield


def test_a_pod_becomes_ready_answers_and_is_deleted(real: Kubectl) -> None:
    probed = pod("probed", command=STAY)
    probed["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["true"]}}
    real.apply(probed)
    real.wait("condition=Ready", "pod/probed")
    assert real("exec", "probed", "--", "id", "-u").strip() == str(ANY_USER)
    real("delete", "pod", "probed", "--grace-period=1")
    assert phase(real, "probed") == ""


def test_the_command_runs_as_any_user_on_a_root_that_cannot_be_written(real: Kubectl) -> None:
    assert run_to_end(real, pod("version", "--version")).startswith("clipstream ")


def test_a_pod_gets_the_gpus_that_the_node_says_it_has(real: Kubectl, two_gpus: None) -> None:
    wanted = {"limits": {"nvidia.com/gpu": "2"}}
    real.apply(
        pod("first", command=STAY, resources=wanted),
        pod("second", command=STAY, resources=wanted),
    )
    eventually(
        lambda: sorted((phase(real, "first"), phase(real, "second"))) == ["Pending", "Running"],
        READY_S,
        interval_s=0.2,
    )
    (running,) = (name for name in ("first", "second") if phase(real, name) == "Running")
    real("delete", "pod", running, "--now")
    (waiting,) = {"first", "second"} - {running}
    real.wait("condition=Ready", f"pod/{waiting}")


def test_a_pod_reaches_the_api_server_by_its_usual_name(real: Kubectl) -> None:
    program = (
        "import socket, json, os;"
        "print(json.dumps([socket.gethostbyname('kubernetes.default.svc.cluster.local'),"
        "os.environ['KUBERNETES_SERVICE_HOST']]));"
        "socket.create_connection(('kubernetes.default.svc', 443), 10).close()"
    )
    printed = run_to_end(real, pod("asking", command=["python3", "-c", program]))
    named, told = json.loads(printed)
    assert named == told
