"""The number of processors, by affinity and by the quotas of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.adapters import processors
from pipeline.adapters.processors import available_processors


class Cgroups:
    """Files as Linux mounts them, and what it says of this process."""

    def __init__(self, folder: Path) -> None:
        self._own, self._mounted = folder / "own", folder / "mounted"

    def own(self, *lines: str) -> None:
        self._own.write_text("".join(f"{line}\n" for line in lines))

    def write(self, file: str, content: str) -> None:
        path = self._mounted / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cgroups:
    monkeypatch.setattr(processors, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(processors, "MOUNTED", tmp_path / "mounted")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return Cgroups(tmp_path)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 8),
        ("250000 100000", 2),
        ("350000 100000", 4),
        ("20000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
    ],
)
def test_a_containers_quota_bounds_the_processors(
    quota: str, expected: int, cgroups: Cgroups
) -> None:
    cgroups.own("0::/")
    cgroups.write("cpu.max", quota)
    assert available_processors() == expected


def test_the_least_quota_of_the_groups_above_counts(cgroups: Cgroups) -> None:
    cgroups.own("0::/system.slice/clipstream.service")
    cgroups.write("system.slice/cpu.max", "300000 100000")
    cgroups.write("system.slice/clipstream.service/cpu.max", "500000 100000")
    assert available_processors() == 3


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8)])
def test_version_1_has_quotas_of_its_own(quota: str, expected: int, cgroups: Cgroups) -> None:
    # The path is the host's, and the container's own group is mounted as the root.
    cgroups.own("4:cpu,cpuacct:/docker/2f9c", "3:cpuset:/docker/2f9c", "0::/")
    cgroups.write("cpu/cpu.cfs_quota_us", quota)
    cgroups.write("cpu/cpu.cfs_period_us", "100000")
    assert available_processors() == expected


def test_without_affinities_and_quota_all_processors_are_counted(
    cgroups: Cgroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_processors() == 6
