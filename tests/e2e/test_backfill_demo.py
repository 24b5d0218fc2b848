"""`clipstream demo --backfill` as a person types it: killed once, each image has one row."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.rigs.left_behind import children_of
from tests.rigs.waiting import eventually
from workers.embedded.processes import command_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

IMAGES = 240


@dataclass
class Run:
    folder: Path
    printed: str

    def table(self, kind: str) -> list[dict[str, object]]:
        return [
            row
            for file in sorted((self.folder / "backfill" / kind).glob("*.parquet"))
            for row in pq.read_table(io.BytesIO(file.read_bytes())).to_pylist()
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "workers.cli", "demo", "--backfill"]
    done = subprocess.run(
        [*command, "--images", str(IMAGES), "--output", str(folder)],
        env=command_environment() | {"DEMO_TEST_SESSION": folder.name, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Ray's daemons of the driver that was killed notice its end by themselves.
    eventually(lambda: children_of(folder.name) == [], 60)
    return Run(folder, done.stdout)


def test_a_killed_job_goes_on_and_each_image_has_one_row(run: Run) -> None:
    assert "killed the driver (SIGKILL)" in run.printed
    assert "each has exactly one row" in run.printed
    assert "before the kill are unchanged" in run.printed
    rows = [(row["bucket"], row["key"]) for kind in ("data", "errors") for row in run.table(kind)]
    assert len(rows) == len(set(rows)) == IMAGES


def test_broken_images_are_errors_with_their_codes(run: Run) -> None:
    assert sorted(str(row["code"]) for row in run.table("errors")) == [
        "decode.corrupt",
        "decode.too_large",
        "decode.truncated",
        "decode.unsupported_format",
        "fetch.empty",
    ]


def test_the_three_queries_are_shown_with_their_answers(run: Run) -> None:
    assert run.printed.count("SELECT") >= 3
    for column in ("decision", "for_example", "cosine"):
        assert f" {column} " in run.printed


def test_the_report_says_that_the_job_is_complete_and_how_good_the_labels_are(run: Run) -> None:
    page = (run.folder / "backfill-report.html").read_text()
    assert "Complete: all 16 shards are committed" in page
    assert page.count("data:image/jpeg;base64,") > 20
    assert "Evidence for shapes" in page
    assert "decode.truncated" in page
    # The job leaves one of its own, without pictures.
    own = (run.folder / "backfill" / "report.html").read_text()
    assert "Complete: all 16 shards are committed" in own
    assert "data:image" not in own


def test_the_truth_of_the_manifest_is_beside_the_results(run: Run) -> None:
    manifest = (run.folder / "backfill-manifest.jsonl").read_text().splitlines()
    truth = {line["key"]: line.get("truth") for line in map(json.loads, manifest)}
    rows = run.table("data")
    assert {row["key"]: row["truth"] for row in rows} == {
        str(row["key"]): truth[str(row["key"])] for row in rows
    }
