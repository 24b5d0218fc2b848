from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.adapters import processors
from pipeline.adapters.processors import available_processors


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
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(processors, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert available_processors() == expected


def test_without_affinities_and_quota_all_processors_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "CGROUP_QUOTA", tmp_path / "missing")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_processors() == 6
