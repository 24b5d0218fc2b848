"""`clipstream demo` as a person types it: every reference has one outcome, nothing stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rigs.left_behind import children_of
from workers.embedded.processes import command_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MIN_ACCURACY = 0.95
"""What the demo promises of its model."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    environment = command_environment() | {"DEMO_TEST_SESSION": folder.name}
    done = subprocess.run(
        [sys.executable, "-m", "workers.cli", "demo", "--images", "80", "--output", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each has exactly one outcome" in done.stdout
    assert children_of(folder.name) == []
    return folder


def test_the_summary_accounts_for_every_reference(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text())
    dead = sum(summary["dead_letters"].values())
    assert summary["references"] == summary["classified"] + summary["skipped"] + dead
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert summary["skipped"] == 3
    assert summary["delivery"] == "exactly_once"
    assert summary["images_per_second"] > 0
    assert {"clipstream", "kafka", "ray", "torch"} <= summary["versions"].keys()


def test_broken_images_and_messages_are_dead_lettered_with_their_codes(output: Path) -> None:
    codes = json.loads((output / "summary.json").read_text())["dead_letters"]
    assert codes == {
        "decode.corrupt": 1,
        "decode.too_large": 1,
        "decode.truncated": 1,
        "decode.unsupported_format": 1,
        "fetch.bucket_not_allowed": 1,
        "fetch.empty": 1,
        "fetch.not_found": 1,
        "reference.not_json": 1,
        "reference.unknown_format": 1,
        "reference.unknown_label_set": 1,
    }


def test_the_model_is_as_good_as_it_says(output: Path) -> None:
    assert json.loads((output / "summary.json").read_text())["accuracy"] >= MIN_ACCURACY


def test_the_report_is_one_page_with_thumbnails(output: Path) -> None:
    page = (output / "report.html").read_text()
    assert page.count("data:image/webp;base64,") >= 70
    assert "decode.truncated" in page
