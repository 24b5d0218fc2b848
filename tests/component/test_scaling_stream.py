"""The driver adds a worker for a backlog on a real Kafka and removes it, member and all."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from pipeline.adapters.s3.policy import S3Policy
from pipeline.encode.policy import BatchPolicy
from pipeline.labels.label_set import LabelSetsPolicy
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import eventually
from tests.rigs.workers.driver_here import run_driver_during
from tests.rigs.workers.fixed_time_worker import build
from tests.rigs.workers.worker_of_deployment import references
from workers.commands import stream
from workers.endpoints.policy import EndpointsPolicy
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy
from workers.supervise import scaling
from workers.supervise.supervisor import ExitCode

pytestmark = pytest.mark.component

PARTITIONS = 4
BATCH, BATCH_S = 8, 0.25
IMAGES = 600
"""One worker would take 19 s for them."""
WITHIN_S = 200.0
LABEL_SET = ROOT / "deploy/examples/label-sets/moderation.yaml"


def members(deployment: Deployment) -> list[str]:
    """Static members of the group, by their ids."""
    group = deployment.kafka.group
    (described,) = deployment.admin.client.describe_groups([group]).values()
    return sorted(each["group_instance_id"] for each in described["members"])


def test_a_backlog_adds_a_worker_and_its_end_removes_it_from_the_group(
    kafka_bootstrap: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(scaling, "MEASURED_S", 3.0)
    monkeypatch.setattr(scaling, "BUSY_S", 1.0)
    # Ray's processes have the environment of the driver, and must find the tests.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    caplog.set_level("INFO", "workers")
    discovery = tmp_path / "prometheus.json"
    workers = WorkersPolicy(max_count=2, cpus_per_worker=0.5, scale_in_window_s=1.0)
    with Deployment(kafka_bootstrap, PARTITIONS) as deployment:
        monkeypatch.setattr(
            stream, "build_stream_worker", partial(build, deployment.kafka.group, BATCH_S)
        )
        settings = Settings(
            kafka=deployment.kafka.model_copy(update={"instance": "scaled"}),
            s3=S3Policy(allowed_buckets=("images",)),
            label_sets=LabelSetsPolicy(paths=(LABEL_SET,), text_cache_dir=None),
            batch=BatchPolicy(max_size=BATCH),
            # Less than a person may set: the test must not take so long.
            workers=workers.model_copy(update={"drain_target_s": 5.0}),
            endpoints=EndpointsPolicy(health_port=0, metrics_port=0, discovery_file=str(discovery)),
        )
        for partition in range(PARTITIONS):
            deployment.produce(references(*["image"] * (IMAGES // PARTITIONS)), partition)
        seen: list[list[str]] = []

        def look() -> None:
            for expected in (["scaled-0"], ["scaled-0", "scaled-1"], ["scaled-0"]):
                eventually(lambda: members(deployment) == expected, WITHIN_S)  # noqa: B023
                seen.append(expected)
            done = sum(deployment.committed(number) or 0 for number in range(PARTITIONS))
            seen.append([str(done)])

        code = run_driver_during(look, settings, request)
    assert code is ExitCode.OK
    assert seen[1:] == [["scaled-0", "scaled-1"], ["scaled-0"], [str(IMAGES)]]
    listed = json.loads(discovery.read_text())
    assert [each["labels"]["worker"] for each in listed] == ["0"]
    changes = re.findall(r"(\d) workers, not (\d): lag \d+", caplog.text)
    assert changes[:2] == [("2", "1"), ("1", "2")]
