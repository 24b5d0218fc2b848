"""A Ray of the driver's own, really started: whatever lies on the host, and after a slow start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component import ray_started_twice
from tests.rigs.root import ROOT
from workers.embedded.processes import free_ports

pytestmark = pytest.mark.component


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where this Ray keeps its files. Paths of sockets are short, so it is no ``tmp_path``."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


def test_a_ray_of_its_own_starts_beside_an_address_file_and_after_a_start_that_was_too_slow(
    folder: Path,
) -> None:
    (folder / "ray").mkdir()
    (folder / "ray/ray_current_cluster").write_text(f"127.0.0.1:{free_ports(1)[0]}")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", ray_started_twice.__name__],
        cwd=ROOT,
        env=environment | {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "timed out during startup" in done.stdout
    assert f"{ray_started_twice.CPUS} CPUs" in done.stdout
