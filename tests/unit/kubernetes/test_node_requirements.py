"""What a real node needs of a machine, and how it is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.dev.cluster.node import probe, requirements
from workers.embedded.processes import ServiceError

PROGRAMS = ("containerd", "ctr", "runc", "ip", "mmdebstrap")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of root's on which every program is in one folder."""
    for name in (*PROGRAMS, "bridge"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(requirements, "SYSTEM_FOLDERS", "")
    monkeypatch.setattr(requirements, "PLUGINS", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_a_machine_that_has_all_lacks_nothing(machine: Path) -> None:
    assert requirements.missing() is None


def test_a_node_needs_root(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in (requirements.missing() or "")


def test_all_missing_packages_are_in_one_line_to_type(machine: Path) -> None:
    for name in (*PROGRAMS, "bridge"):
        (machine / name).unlink()
    assert (requirements.missing() or "").endswith(
        "type: apt-get install --no-install-recommends "
        "containerd containernetworking-plugins iproute2 mmdebstrap runc"
    )


def test_a_program_that_is_missing_is_named_with_its_package(machine: Path) -> None:
    assert requirements.need("ctr") == machine / "ctr"
    (machine / "ctr").unlink()
    with pytest.raises(ServiceError, match=r"no ctr; type: .* containerd$"):
        requirements.need("ctr")


def test_what_the_kernel_refuses_and_what_is_missing_are_told_apart(machine: Path) -> None:
    """In CI the first excuses tests of a node, and the second does not."""
    unshare = machine / "unshare"
    unshare.write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2\nexit 1\n")
    unshare.chmod(0o755)
    assert probe.refusal() == (
        "the kernel refuses namespaces: unshare failed: Operation not permitted"
    )
    (machine / "runc").unlink()
    assert probe.KERNEL not in (probe.refusal() or probe.KERNEL)


def test_the_packages_are_those_that_ci_installs() -> None:
    root = Path(__file__).resolve().parents[3]
    lines = (root / "deploy/dev/debian-packages.txt").read_text().splitlines()
    assert {*requirements.PACKAGES.values(), requirements.PLUGINS_PACKAGE} <= {*lines}
