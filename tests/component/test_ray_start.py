"""A real Ray of the driver's own, on a host with an address file of a cluster that is gone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private import services

from pipeline.errors import Retry
from tests.waiting import eventually
from workers.demo.processes import free_ports
from workers.ray_start import start_ray

pytestmark = [pytest.mark.component, pytest.mark.timeout(180)]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's own. Its sockets' paths must be short."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield Path(name) / "ray"


def daemons() -> list[str]:
    """Names of this process' children that are Ray's."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    names = []
    for child in children:
        stat = Path(f"/proc/{child}/stat").read_text()
        if ") Z " not in stat:
            names.append(stat[stat.index("(") + 1 : stat.rindex(")")])
    return [name for name in names if name in ("gcs_server", "raylet")]


def test_a_ray_of_its_own_starts_beside_an_address_file_and_after_a_start_that_was_too_slow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder.mkdir()
    (folder / "ray_current_cluster").write_text(f"127.0.0.1:{free_ports(1)[0]}")

    def too_slow(*_: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does

    before = daemons()
    with monkeypatch.context() as slow:
        slow.setattr(services, "get_node", too_slow)
        with pytest.raises(Retry, match="timed out during startup"):
            start_ray(3)
    eventually(lambda: daemons() == before)
    try:
        start_ray(3)
        assert ray.cluster_resources()["CPU"] == 3  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
