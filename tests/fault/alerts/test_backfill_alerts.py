"""The alert of backfills fires for a store that slows down, and ends with it.

A store that is down is no case of this alert: ClipstreamStoreDown fires, and the job halts after
`backfill.stuck_s`. Here that setting is at a sixtieth of its default too, as the rules are.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dev.monitoring import promtool
from deploy.dev.monitoring.boards.backfill import BACKFILL
from pipeline.backfill.policy import BackfillPolicy
from tests.fault.alerts.pictures import keep_pictures
from tests.fault.alerts.record import FASTER, Record
from tests.fault.alerts.scraping import NAMESPACE, scraping
from tests.fault.alerts.watch import Watch
from tests.fault.s3_proxy import Fault, S3Proxy
from tests.fault.s3_rig import Bucket
from tests.rigs.root import ROOT
from tests.rigs.services.panels import panels_with_data
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.waiting import eventually
from workers.embedded.processes import ChildProcess, command_environment, free_ports
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.on_demand("make alert-tests"), pytest.mark.timeout(900)]

DEMO = ROOT / "workers" / "demo"
SHARDS = 15
SHARD_ROWS = 60
LATENCY_S = 1.0
"""A worker that reads one object at a time needs two minutes for the two shards in work."""
OBJECTS_PER_S = 30.0
"""Before the fault. A shard takes some four seconds."""
STOP_S = 60.0
START_S = 300.0
LOOK_S = 0.5


@dataclass(frozen=True)
class RunningJob:
    driver: ChildProcess
    photos: S3Proxy
    prometheus: Prometheus

    def committed(self) -> float:
        found = self.prometheus.query('sum(clipstream_backfill_shards{state="committed"})')
        return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture
def job(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningJob]:
    if not promtool.available():
        pytest.skip(promtool.WHAT_IT_NEEDS)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    with contextlib.ExitStack() as owned:
        # Its path must be short.
        short = owned.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        photos = owned.enter_context(contextlib.closing(Bucket(s3_server)))
        derived = owned.enter_context(contextlib.closing(Bucket(s3_server)))
        proxy = owned.enter_context(S3Proxy(s3_server.endpoint, LATENCY_S))
        (port,) = free_ports(1)
        settings = settings_of(s3_server, derived.name, (proxy, photos.name), port)
        file = tmp_path / "settings.yaml"
        file.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "workers.cli", "backfill", "run"]
        command += [str(manifest(photos, tmp_path)), "--config", str(file)]
        driver = ChildProcess(
            "backfill",
            [*command, "--output", f"s3://{derived.name}/job"],
            log=tmp_path / "driver.log",
            environment=command_environment() | {"RAY_TMPDIR": short},
        )
        owned.callback(driver.stop, STOP_S)
        driver.start()
        prometheus = owned.enter_context(scraping(tmp_path, port))
        began = time.monotonic()
        yield RunningJob(driver, proxy, prometheus)
        keep_pictures(prometheus, began, "backfill")


def settings_of(
    server: S3Server, output: str, photos: tuple[S3Proxy, str], health_port: int
) -> dict[str, Any]:
    """``output`` is a bucket of the server. ``photos`` are a bucket that is read through a
    proxy."""
    proxy, bucket = photos
    output_store = {"endpoint": server.endpoint, "allowed_buckets": [output]}
    store = {"name": "photos", "endpoint": proxy.endpoint, "allowed_buckets": [bucket]}
    return {
        "s3": output_store | {"region": server.region},
        "stores": [store | {"region": server.region}],
        "fetch": {"max_open_objects": 1},
        "model": {"directory": str(DEMO / "model"), "device": "cpu"},
        "label_sets": {"paths": [str(DEMO / "labels.yaml")]},
        "workers": {"count": 1},
        "endpoints": {"health_port": health_port, "metrics_port": 0},
        "backfill": {
            "shard_rows": SHARD_ROWS,
            "objects_per_s": OBJECTS_PER_S,
            "stuck_s": BackfillPolicy().stuck_s / FASTER,
        },
    }


def manifest(photos: Bucket, folder: Path) -> Path:
    """Names so many objects that each shard has images, and one object that is none."""
    images = photos.fill(SHARDS * (SHARD_ROWS - 1))
    photos.put("notes.txt", b"no image")
    keys = []
    for first in range(0, len(images), SHARD_ROWS - 1):
        keys += [*images[first : first + SHARD_ROWS - 1], "notes.txt"]
    file = folder / "manifest.jsonl"
    file.write_text("".join(f"{json.dumps({'bucket': photos.name, 'key': key})}\n" for key in keys))
    return file


def test_a_stalled_backfill_fires_while_its_store_is_slow(job: RunningJob, record: Record) -> None:
    def runs() -> bool:
        assert job.driver.running, job.driver.log_tail()
        return job.committed() > 0

    def every_panel_has_data() -> bool:
        # Asked before the fault: when the alert fires, no shard has ended for a while.
        seen = panels_with_data(job.prometheus)
        record.had_data(seen)
        return {f"backfill: {panel.title}" for panel in BACKFILL.panels} <= seen

    eventually(runs, START_S, LOOK_S)
    eventually(every_panel_has_data, interval_s=LOOK_S)
    watch = Watch(job.prometheus, record)
    job.photos.inject(Fault.LATENCY)
    alert = watch.until_it_fires(
        "ClipstreamBackfillStalled", "ticket", namespace=NAMESPACE, instance="driver"
    )
    assert alert["annotations"]["summary"].endswith("and 2 are in work.")
    assert job.driver.running, job.driver.log_tail()
    job.photos.heal()
    watch.until_it_is_resolved("ClipstreamBackfillStalled", "ticket")
