"""A backfill on Ray and a real S3 server whose images cost nothing, or a fixed time a batch.

The manifest, the plan, the driver, Ray, the worker's path and its commits are the product's.
Objects, decoder and model are stand-ins.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.adapters.parquet.footer import committed_footer
from pipeline.adapters.s3.admin import S3Admin
from pipeline.backfill import layout
from pipeline.backfill.running.ending import Success
from pipeline.backfill.running.progress import Progress
from tests.rigs.backfill import null_driver
from tests.rigs.root import ROOT
from workers.backfill.output import Output, open_output
from workers.embedded.processes import ChildProcess, ProcessIdentity, command_environment
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings, load_settings

LABEL_SET = ROOT / "deploy/examples/label-sets/moderation.yaml"
PHOTOS, LISTS, DERIVED, NAME = "photos", "lists", "derived", "job"
OUTPUT = f"s3://{DERIVED}/{NAME}"
MANIFEST_ROWS = 500_000
LOOK_S = 1.0
STOP_S = 60.0


class NullJob:
    """The job, cut when its driver starts."""

    def __init__(
        self,
        folder: Path,
        s3: S3Server,
        rows: int,
        changed: Mapping[str, Any],
        batch_s: float = 0.0,
    ) -> None:
        """``changed`` are settings, by section."""
        self.folder, self.rows = folder, rows
        file = folder / "job.yaml"
        file.write_text(yaml.safe_dump(_settings(s3) | dict(changed)))
        os.environ.update(AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key)
        self.settings: Settings = load_settings(file, environment={})
        self._admin = S3Admin(self.settings.s3)
        for bucket in (PHOTOS, LISTS, DERIVED):
            self._admin.create_bucket(bucket)
        for part, body in enumerate(manifests(rows)):
            self._admin.put(LISTS, f"{NAME}/{part:04}.parquet", body)
        command = [sys.executable, "-m", null_driver.__name__, str(file)]
        command += [f"s3://{LISTS}/{NAME}/", OUTPUT, str(folder), str(batch_s)]
        # Ray's processes have the environment of the driver, and must find the tests.
        environment = command_environment() | {"PYTHONPATH": str(ROOT)}
        self.driver = ChildProcess(
            "driver", command, log=folder / "driver.log", environment=environment
        )

    def __enter__(self) -> NullJob:
        return self

    def __exit__(self, *raised: object) -> None:
        self.driver.stop(STOP_S)
        self._admin.close()

    @property
    def committed(self) -> int:
        """Shards that are committed."""
        return sum(1 for _ in self.committed_in(layout.DATA))

    def committed_in(self, prefix: str) -> Iterator[str]:
        """Keys of the data files whose names begin so: ``data/02``."""
        return (each.key for each in self._admin.list_objects(DERIVED, f"{NAME}/{prefix}"))

    def worker(self, slot: int) -> int | None:
        """Id of the process of the worker that was last in a place; None before there was one."""
        file = self.folder / f"worker-{slot}"
        return int(file.read_text() or 0) or None if file.exists() else None

    def alive(self, slot: int) -> bool:
        pid = self.worker(slot)
        return pid is not None and ProcessIdentity.of(pid) is not None

    def progress(self) -> Progress | None:
        """As the driver last wrote it."""
        body = self._read(layout.PROGRESS)
        return None if body is None else Progress.of_bytes(body, layout.PROGRESS)

    def shard_seconds(self) -> float:
        """How long the first shard took."""
        with contextlib.closing(open_output(self.settings, Output.of(OUTPUT))) as folder:
            return committed_footer(folder, 0).summary.seconds

    def success(self, within_s: float) -> Success:
        """What the driver leaves when the job is complete."""
        until = time.monotonic() + within_s
        while (body := self._read(layout.SUCCESS)) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"the job was not closed\n{self.driver.log_tail()}")
            time.sleep(LOOK_S)
        return Success.of_bytes(body, layout.SUCCESS)

    def _read(self, name: str) -> bytes | None:
        with contextlib.closing(open_output(self.settings, Output.of(OUTPUT))) as folder:
            found = folder.read(name)
        return None if found is None else found.body


def manifests(rows: int) -> Iterator[bytes]:
    """Parquet files that name so many objects."""
    for first in range(0, rows, MANIFEST_ROWS):
        some = range(first, min(first + MANIFEST_ROWS, rows))
        table = pa.table(
            {"bucket": [PHOTOS] * len(some), "key": [f"2024/{each:09}.jpg" for each in some]}
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        yield buffer.getvalue()


def _settings(s3: S3Server) -> dict[str, Any]:
    return {
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [PHOTOS]},
        "label_sets": {"paths": [str(LABEL_SET)], "text_cache_dir": None},
        "workers": {"count": 1, "gpus_per_worker": 0},
        "endpoints": {"health_port": 0, "metrics_port": 0},
        "log": {"format": "json"},
    }
