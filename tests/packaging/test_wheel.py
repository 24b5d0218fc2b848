"""What a wheel holds: everything that the installed command needs, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.rigs.root import ROOT


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("clipstream-*.whl")
    return zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize(
    "needed",
    [
        "workers/demo/model/model.safetensors",
        "workers/demo/model/config.json",
        "workers/demo/labels.yaml",
        "workers/demo/report.html.jinja",
        "workers/commands/labels/comparing/pages/diff.html.jinja",
        "workers/embedded/kafka-jars.lock",
        "workers/serve/console/static/index.html",
        "workers/serve/console/static/app.js",
        "workers/serve/console/static/playground/playground.js",
        "workers/serve/console/static/style/base.css",
        "workers/serve/console/static/icon.svg",
        "workers/serve/console/static/vendor/htm-preact.js",
        "workers/serve/console/static/vendor/LICENSES.txt",
        "pipeline/adapters/decode/child.py",
        "pipeline/py.typed",
        "workers/py.typed",
    ],
)
def test_the_wheel_holds_what_the_command_reads(names: list[str], needed: str) -> None:
    assert needed in names


def test_the_wheel_holds_only_the_two_packages(names: list[str]) -> None:
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"pipeline", "workers"}


def test_the_command_says_its_version() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "clipstream", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("clipstream ")
