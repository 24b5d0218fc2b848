"""How soon a job goes on of which 20,000 shards are committed. Ray, S3 server and driver are real;
the images cost nothing."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from deploy.dev.versitygw import VersityS3
from pipeline.backfill import layout
from tests.benchmarks.figures import Figure
from tests.rigs.backfill.null_driver import JOINED
from tests.rigs.backfill.null_job import OUTPUT, NullJob
from tests.rigs.waiting import eventually
from workers.backfill.output import Output, open_output

SHARDS, LEFT = 20_000, 200
SHARD_ROWS = 10
COPIES_AT_ONCE = 16
WITHIN_S = 600.0
GOAL_S = 10.0


def measure(tell: Callable[[str], None]) -> list[Figure]:
    rows = (SHARDS + LEFT) * SHARD_ROWS
    changed = {"backfill": {"shard_rows": SHARD_ROWS}}
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-resuming-") as name,
        VersityS3(Path(name) / "s3") as s3,
        NullJob(Path(name), s3, rows, changed) as job,
    ):
        job.driver.start()
        eventually(lambda: job.committed > 0, WITHIN_S)
        job.driver.stop()
        finish(job)
        tell(f"{job.committed} shards are committed")
        before = {*job.committed_in("data/02")}
        started = datetime.now(UTC)
        job.driver.start()
        eventually(lambda: {*job.committed_in("data/02")} > before, WITHIN_S, interval_s=0.1)
        took_s = (datetime.now(UTC) - joined(job, started)).total_seconds()
    return [Figure("backfill.resume.first_commit", took_s, "s", GOAL_S, at_least=False)]


def finish(job: NullJob) -> None:
    """Commit the first shards with the file of one of them."""
    with contextlib.closing(open_output(job.settings, Output.of(OUTPUT))) as folder:
        name = next(folder.names(layout.DATA))
        written, metadata = folder.read(name), folder.metadata(name)
        assert written is not None
        body = written.body
        assert metadata is not None
        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            for _ in pool.map(
                lambda shard: folder.create(layout.data_file(shard), body, metadata), range(SHARDS)
            ):
                pass


def joined(job: NullJob, after: datetime) -> datetime:
    """When the driver's latest run was connected to Ray."""
    for line in job.driver.log.read_text().splitlines():
        if JOINED in line:
            at = datetime.fromisoformat(json.loads(line)["time"])
            if at > after:
                return at
    raise AssertionError("the driver was not connected to Ray")
