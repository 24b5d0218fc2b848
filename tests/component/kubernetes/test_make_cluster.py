"""What `make cluster` prints leads to a classified image; `make cluster-down` leaves nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.dev.cluster.clusters import DEVELOPERS_SLOT, folder_of
from deploy.dev.cluster.processes import all_run
from tests.rigs.kubernetes.traces import LOGS, traces
from tests.rigs.root import ROOT

pytestmark = [
    pytest.mark.component,
    pytest.mark.kubelet,
    pytest.mark.on_demand("make cluster-tests"),
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("node_may_start"),
]


def run_command(command: str) -> str:
    """What the command of the Makefile prints."""
    words = [sys.executable, "-m", "deploy.dev.cluster", command]
    return subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_what_it_prints_installs_a_release_that_passes_its_test_and_nothing_is_left() -> None:
    folder = folder_of(DEVELOPERS_SLOT)
    assert not all_run(folder), "a developer's cluster runs; type: make cluster-down"
    try:
        printed = run_command("up")
        commands = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
        assert commands[-1].startswith("helm test")
        typed = subprocess.run(
            ["bash", "-c", "\n".join(["set -e", *commands])],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        assert "STATUS: deployed" in typed
        assert "Phase:          Succeeded" in typed
        assert "Running" in cluster_pods(commands)
        # Typed again, it changes nothing.
        assert run_command("up") == printed[printed.index("\nA cluster with") :]
        assert "Running" in cluster_pods(commands)
    finally:
        ended = run_command("down")
    assert "and removed what they had made" in ended
    assert traces(folder) == []
    assert not (folder / LOGS).exists()


def cluster_pods(commands: list[str]) -> str:
    """The release's pods, listed after the ``export`` lines among the commands."""
    exports = [command for command in commands if command.startswith("export ")]
    script = "\n".join([*exports, "kubectl get pods --namespace clipstream"])
    return subprocess.run(
        ["bash", "-c", script], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
