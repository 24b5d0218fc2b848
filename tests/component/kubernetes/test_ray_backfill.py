"""A backfill on the real node, mode `kuberay`: it loses its driver, and later its head."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from deploy.dev.cluster.kubectl import Kubectl
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.ports import StoredFile
from tests.rigs.kubernetes.release import (
    READY_S,
    WITHOUT_DOCTOR,
    Release,
    chart_values,
    end,
)
from tests.rigs.kubernetes.stream import PodStream
from tests.rigs.waiting import eventually
from workers.demo.shapes import demo_images
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [
    pytest.mark.component,
    pytest.mark.kubelet,
    pytest.mark.timeout(900),
    pytest.mark.on_demand("make cluster-tests"),
]

ROWS, SHARD_ROWS, SOME = 600, 20, 2
"""``SOME`` shards are committed before the next fault."""

ROWS_PER_S = 10.0
"""A cap: the job takes longer than a test needs for its faults."""

KILLS_THE_DRIVER = (
    "python3",
    "-c",
    """
import contextlib, os, pathlib, signal
found = 0
for each in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    with contextlib.suppress(OSError):  # it has just ended
        if {b"backfill", b"run"} <= {*each.read_bytes().split(bytes(1))}:
            os.kill(int(each.parent.name), signal.SIGKILL)
            found += 1
print(found)
""",
)
"""Prints how many it has killed."""


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl, stream: PodStream, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> Release:
    bucket = _bucket_of(stream)
    values = chart_values(kafka_for_pods, s3_for_pods, stream)
    job = {
        "name": "interrupted",
        "source": f"s3://{bucket}/photos/",
        "output": f"s3://{stream.derived}/all",
        "resources": values["workers"]["resources"],
        "settings": {"backfill": {"shard_rows": SHARD_ROWS, "objects_per_s": ROWS_PER_S}},
        "ttlSecondsAfterFinished": 1,
    }
    given = {"mode": "kuberay", "stream": {"enabled": False}, "backfill": {"jobs": [job]}}
    release = Release(namespace, {**values, **given})
    with release.install(*WITHOUT_DOCTOR) as running:
        end(running)
    return release


def test_a_job_outlives_its_driver_and_the_head_of_its_cluster(
    release: Release, stream: PodStream
) -> None:
    folder = stream.derived_folder("all/")

    def committed() -> dict[str, StoredFile | None]:
        return {name: folder.read(name) for name in sorted(folder.names("data/"))}

    eventually(lambda: len(committed()) >= SOME, READY_S, interval_s=0.5)
    first = release.kubectl("exec", _head(release), "-c", "ray-head", "--", *KILLS_THE_DRIVER)
    assert first.strip() == "1", "one driver ran"
    eventually(lambda: _status(release).get("failed") == 1, READY_S, interval_s=1)
    before = committed()
    eventually(lambda: len(committed()) >= len(before) + SOME, READY_S, interval_s=0.5)
    release.kubectl("delete", "pod", _head(release), "--force", "--grace-period=0")
    before |= committed()
    assert len(before) < ROWS // SHARD_ROWS, "work was left for the next head"
    eventually(lambda: _status(release).get("jobStatus") == "SUCCEEDED", READY_S, interval_s=1)
    assert _status(release)["failed"] == 1, "the head came back in the same cluster"
    after = committed()
    assert {name: after[name] for name in before} == before
    tables = [pq.read_table(io.BytesIO(it.body)) for it in after.values() if it]
    keys = Counter[str](key for table in tables for key in table["key"].to_pylist())
    assert len(keys) == ROWS
    assert set(keys.values()) == {1}


def _head(release: Release) -> str:
    """The pod of the cluster that the job has now."""
    cluster = _status(release)["rayClusterName"]
    chosen = f"ray.io/cluster={cluster},ray.io/node-type=head"
    (head,) = release.kubectl.get("pods", "-l", chosen)["items"]
    return str(head["metadata"]["name"])


def _status(release: Release) -> dict[str, Any]:
    (job,) = release.kubectl.get("rayjobs")["items"]
    status: dict[str, Any] = job.get("status", {})
    assert status.get("jobDeploymentStatus") != "Failed", status
    return status


def _bucket_of(stream: PodStream) -> str:
    """The stream's bucket, with images for a backfill."""
    bucket, _ = stream.one_image
    admin = S3Admin(S3Policy.model_validate(stream.settings["s3"]))
    for image in demo_images(2, ROWS):
        admin.put(bucket, f"photos/{image.key}", image.body)
    admin.close()
    return bucket
