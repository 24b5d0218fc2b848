"""One of two nodes comes to lack its credentials, on a real Kafka and with real Ray actors: the
stream goes on, the group loses the member, and the place fills again."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import metrics
from pipeline.adapters.kafka.policy import DeliveryPolicy
from pipeline.adapters.prometheus import samples
from pipeline.adapters.s3.policy import S3Policy
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.retry import RetryPolicy
from tests.component.test_scaling_stream import LABEL_SET, members
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import eventually
from tests.rigs.workers import faulty_node
from tests.rigs.workers.driver_here import run_driver_during
from tests.rigs.workers.worker_of_deployment import references
from workers.commands import stream
from workers.endpoints.policy import EndpointsPolicy
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy
from workers.supervise import trouble
from workers.supervise.supervisor import ExitCode

pytestmark = pytest.mark.component

PARTITIONS = 4
EACH = 20
WITHIN_S = 120.0
BOTH = ["node-0", "node-1"]


def shared(deployment: Deployment) -> bool:
    """Whether each member of the group has half of the partitions."""
    (described,) = deployment.admin.client.describe_groups([deployment.kafka.group]).values()
    shares = {
        # Bytes while a member has none yet.
        each["group_instance_id"]: sum(
            len(topic["partitions"]) for topic in each["member_assignment"]["assigned_partitions"]
        )
        for each in described["members"]
        if isinstance(each["member_assignment"], dict)
    }
    return shares == dict.fromkeys(BOTH, PARTITIONS / 2)


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_a_stream_outlives_the_fault_of_a_node(
    kafka_bootstrap: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    # The first wait is too long for the place to count as filled soon.
    monkeypatch.setattr(trouble, "RETRIES", RetryPolicy(first_wait_s=8.0, longest_wait_s=8.0))
    # Ray's processes have the environment of the driver, and must find the tests.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    caplog.set_level("INFO", "workers")
    with Deployment(kafka_bootstrap, PARTITIONS) as deployment:
        monkeypatch.setattr(
            stream,
            "build_stream_worker",
            partial(faulty_node.build, deployment.kafka.group, tmp_path),
        )
        settings = Settings(
            kafka=deployment.kafka.model_copy(update={"instance": "node"}),
            s3=S3Policy(allowed_buckets=("images",)),
            label_sets=LabelSetsPolicy(paths=(LABEL_SET,), text_cache_dir=None),
            workers=WorkersPolicy(count=2, cpus_per_worker=0.5, max_crashes=2),
            endpoints=EndpointsPolicy(health_port=0, metrics_port=0),
            # Longer than the test waits: the others read the partitions because the driver has the
            # member removed, and not because its session has ended.
            delivery=DeliveryPolicy(session_timeout_s=2 * WITHIN_S),
        )
        seen: dict[str, Any] = {}

        def produce_and_wait(rounds: int) -> float:
            for number in range(PARTITIONS):
                deployment.produce(references(*["image"] * EACH), number)
            began, wanted = time.monotonic(), rounds * EACH * PARTITIONS
            eventually(
                lambda: sum(deployment.committed(n) or 0 for n in range(PARTITIONS)) == wanted,
                WITHIN_S,
            )
            return time.monotonic() - began

        def look() -> None:
            eventually(lambda: shared(deployment), WITHIN_S)
            produce_and_wait(1)
            faulty_node.fault(tmp_path).touch()
            victim = int(faulty_node.process(tmp_path, faulty_node.FAULTY_SLOT).read_text())
            os.kill(victim, signal.SIGKILL)
            seen["gap_s"] = produce_and_wait(2)
            seen["members"] = members(deployment)
            (port,) = re.findall(r"metrics on port (\d+)", caplog.text)
            # The place's next process may take longer than its partitions' move.
            eventually(lambda: "place 1 is empty" in get(int(port), "/readyz"), WITHIN_S)
            seen["readyz"] = get(int(port), "/readyz")
            seen["metrics"] = get(int(port), "/metrics")
            seen["all"] = get(int(port), "/metrics/all")
            seen["targets"] = json.loads(get(int(port), "/targets"))
            faulty_node.fault(tmp_path).unlink()
            eventually(lambda: shared(deployment), WITHIN_S)
            seen["together_s"] = produce_and_wait(3)

        code = run_driver_during(look, settings, request)
    assert code is ExitCode.OK
    assert seen["members"] == ["node-0"]
    assert "place 1 is empty: s3.no_credentials on node" in str(seen["readyz"])
    assert str(seen["readyz"]).startswith("ok\n")
    assert 'places_empty{code="s3.no_credentials"} 1.0' in str(seen["metrics"])
    all_series = [*samples(str(seen["all"]))]
    group = deployment.kafka.group
    labels = {"kind": "stream", "worker": "0", "group": group, "driver": "node"}
    assert {
        of["worker"]: value for name, of, value in all_series if name == metrics.WORKER_UP.name
    } == {"0": 1.0, "1": 0.0}
    (commits,) = ((of, value) for name, of, value in all_series if name == metrics.COMMITS.name)
    assert commits[0] == labels
    assert commits[1] > 0
    (target,) = seen["targets"]
    assert target["labels"] == labels
    assert seen.keys() >= {"together_s"}, seen
    print(f"partitions of the place that cannot be filled were unread for {seen['gap_s']:.1f} s")
