"""A backfill through the command line: a real S3 server, a listing, and workers on Ray."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from tests.fault.s3_proxy import S3Proxy
from tests.rigs.root import ROOT
from tests.rigs.stages.decoding import as_file, noise
from workers.embedded.processes import command_environment
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SOURCE_BUCKET, OUTPUT_BUCKET = "e2e-photos", "e2e-derived"
IMAGES, CONTENTS = 90, 7
SHARD_ROWS = 40
MODEL = ROOT / "workers/demo/model"
LABEL_SET = ROOT / "workers/demo/labels.yaml"


@dataclass
class Place:
    """A bucket of photographs and a bucket for results."""

    settings: Path
    admin: S3Admin
    store: S3Proxy

    def run(self, output: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workers.cli", "backfill", "run", "s3://e2e-photos/2024/"]
        command += ["--output", f"s3://e2e-derived/{output}", "-c", str(self.settings), *options]
        return subprocess.run(
            command, env=command_environment(), capture_output=True, text=True, timeout=400
        )

    def names(self, prefix: str) -> list[str]:
        return [each.key for each in self.admin.list_objects(OUTPUT_BUCKET, prefix)]

    def table(self, name: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = pq.read_table(io.BytesIO(self.read(name))).to_pylist()
        return rows

    def read(self, name: str) -> bytes:
        return self.admin._client.get_object(Bucket=OUTPUT_BUCKET, Key=name)["Body"].read()


@pytest.fixture(scope="module")
def place(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("backfill")
    os.environ.update(
        AWS_ACCESS_KEY_ID=s3_server.access_key, AWS_SECRET_ACCESS_KEY=s3_server.secret_key
    )
    with S3Proxy(s3_server.endpoint) as store:
        yield from _place(s3_server, store, folder)


def _place(server: S3Server, store: S3Proxy, folder: Path) -> Iterator[Place]:
    s3 = {"endpoint": server.endpoint, "region": server.region}
    photos = s3 | {"endpoint": store.endpoint, "allowed_buckets": [SOURCE_BUCKET], "name": "photos"}
    settings = folder / "settings.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "s3": s3 | {"allowed_buckets": [OUTPUT_BUCKET]},
                "stores": [photos],
                "model": {"directory": str(MODEL), "device": "cpu"},
                "label_sets": {"paths": [str(LABEL_SET)]},
                "endpoints": {"health_port": 0, "metrics_port": 0},
                "backfill": {"shard_rows": SHARD_ROWS},
            }
        )
    )
    with contextlib.closing(S3Admin(S3Policy(**s3))) as admin:
        admin.create_bucket(SOURCE_BUCKET)
        admin.create_bucket(OUTPUT_BUCKET)
        admin.put(SOURCE_BUCKET, "2024/", b"")
        for number in range(IMAGES):
            admin.put(
                SOURCE_BUCKET, f"2024/{number:04}.png", as_file(noise(40, 30 + number % CONTENTS))
            )
        admin.put(SOURCE_BUCKET, "2024/notes.txt", b"no image")
        admin.put(SOURCE_BUCKET, "2023/0.png", as_file(noise(40, 30)))
        yield Place(settings, admin, store)


def test_each_object_of_the_prefix_becomes_one_row(place: Place) -> None:
    done = place.run("2024")
    assert done.returncode == 0, done.stderr
    data, errors = place.names("2024/data/"), place.names("2024/errors/")
    assert data == [f"2024/data/{shard:06}.parquet" for shard in range(3)]
    rows = [row for name in data for row in place.table(name)]
    assert sorted(str(row["key"]) for row in rows) == [
        f"2024/{number:04}.png" for number in range(IMAGES)
    ]
    (failed,) = [row for name in errors for row in place.table(name)]
    assert (failed["key"], failed["code"]) == ("2024/notes.txt", "decode.unsupported_format")
    success = json.loads(place.read("2024/_SUCCESS.json"))
    assert [each["data"] for each in success["files"]] == [name[len("2024/") :] for name in data]
    assert (success["summary"]["classified"], success["summary"]["failed"]) == (IMAGES, 1)
    assert json.loads(place.read("2024/progress.json"))["state"] == "complete"
    job = json.loads(place.read("2024/job.json"))
    assert (job["rows"], job["shards"], job["left_out"]) == (IMAGES + 1, 3, {"folder": 1})


def test_objects_of_equal_content_are_read_once_and_have_a_row_each(place: Place) -> None:
    keys = [f"2024/{number:04}.png" for number in range(IMAGES)]
    before = {key: place.store.asked(key) for key in keys}
    done = place.run("once", "--dedupe", "etag+size")
    assert done.returncode == 0, done.stderr
    rows = [row for name in place.names("once/data/") for row in place.table(name)]
    assert sorted(str(row["key"]) for row in rows) == keys
    # The files are of CONTENTS kinds, and a shard's border may divide the copies of one.
    read = [key for key in keys if place.store.asked(key) > before[key]]
    assert CONTENTS <= len(read) <= CONTENTS + len(place.names("once/data/")) - 1
    by_content = defaultdict(set)
    for row in rows:
        by_content[row["sha256"]].add(json.dumps(row["shapes"], sort_keys=True))
    assert len(by_content) == CONTENTS
    # What is read twice is encoded in batches of other sizes, and may differ in the last bits.
    assert sum(map(len, by_content.values())) <= len(read)
    assert json.loads(place.read("once/job.json"))["copies"] == IMAGES - len(read)
