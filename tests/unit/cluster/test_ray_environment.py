"""Ray reads its environment when it is imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import workers.cli
from workers.cluster import actors
from workers.commands import stream
from workers.commands.serving import serve
from workers.settings.loading import Settings

class Started(Exception): ...

def start_ray(cpus):
    assert "ray" not in sys.modules, "imported before its environment was prepared"
    raise Started

actors.start_ray = start_ray
try:
    actors.Cluster(Settings())
except Started:
    print("prepared first")
"""


def test_a_driver_imports_ray_only_after_its_environment_is_prepared() -> None:
    """Otherwise the lines of workers would have Ray's prefix, and JSON lines would be none."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.stdout, done.returncode) == ("prepared first\n", 0), done.stderr
