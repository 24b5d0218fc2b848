"""The disk of the driver is full while it cuts a job: the command says so, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from tests.rigs.root import ROOT
from workers.embedded.processes import command_environment
from workers.embedded.s3 import S3Server
from workers.supervise.supervisor import ExitCode

pytestmark = [pytest.mark.component, pytest.mark.timeout(400)]

ROWS = 40_000
MOST_BYTES = 4096
"""Of any file: less than the rows need that wait until the source is read."""

BLOCK_BYTES = 512
OUTPUT = "full-disk-derived"


def test_a_full_disk_is_named_and_nothing_of_the_plan_is_left(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    store = {"endpoint": s3_server.endpoint, "region": s3_server.region}
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "s3": store | {"allowed_buckets": ["photos"]},
                "label_sets": {"paths": [str(ROOT / "workers/demo/labels.yaml")]},
            }
        )
    )
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("bucket,key\n" + "".join(f"photos,{row}.jpg\n" for row in range(ROWS)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with contextlib.closing(S3Admin(S3Policy.model_validate(store))) as admin:
        admin.create_bucket(OUTPUT)
        done = limited(temporary, str(manifest), str(settings))
        left = [each.key for each in admin.list_objects(OUTPUT, "")]
    assert done.returncode == ExitCode.HALTED, done.stderr
    assert f"backfill.disk_full: backfill: {temporary} has no room for the rows" in done.stderr
    assert "Traceback" not in done.stderr
    assert left == ["job/driver.json"]
    assert list(temporary.iterdir()) == []


def limited(temporary: Path, manifest: str, settings: str) -> subprocess.CompletedProcess[str]:
    """The command, whose files may have few bytes."""
    limit = f'ulimit -f {MOST_BYTES // BLOCK_BYTES} && exec "$@"'
    command = [sys.executable, "-m", "workers.cli", "backfill", "run", manifest]
    command += ["--output", f"s3://{OUTPUT}/job", "-c", settings]
    return subprocess.run(
        ["sh", "-c", limit, "sh", *command],
        env=command_environment() | {"TMPDIR": str(temporary), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
    )
