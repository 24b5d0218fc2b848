"""One release of the chart on the real node, mode `kuberay`: a head with the driver, two workers on
pods of their own, and a backfill with a cluster of its own.

Each test leaves a stream that works to the next one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deploy.dev.cluster.kubectl import Kubectl, KubectlError
from deploy.dev.monitoring.boards import PANELS
from deploy.dev.monitoring.rules import defaults, rules_file
from tests.rigs.kubernetes.release import (
    NAME,
    READY_S,
    WITHOUT_DOCTOR,
    Release,
    chart_values,
    end,
    evict,
    watched_end,
)
from tests.rigs.kubernetes.spoilt import SPOILT, Values, changed
from tests.rigs.kubernetes.stream import (
    IMAGES,
    PARTITIONS,
    PodStream,
    cost_of_a_notice,
    pauses,
)
from tests.rigs.services.panels import panels_with_data
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.skips import asked
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.component, pytest.mark.kubelet, pytest.mark.timeout(900)]

NOTICE_S = 30
"""Of a spot node."""
ENDED_BY_SIGTERM = 1
"""Ray's exit code after SIGTERM, once its node has drained. A node that was killed has 137."""
HEALTH = 8080

QUIET = {
    "decisions: Changes",
    "decisions: Changes of lists",
    "decisions: Decisions against the reference",
    "decisions: Embeddings against the reference",
    "decisions: Images without a decision",
    "decisions: Lists in force",
    "decisions: Matches",
    "decisions: References that do not fit",
    "decisions: Scores against the reference",
    "overview: Certificates",
    "overview: Dead letters",
    "overview: Dead letters by code",
    "overview: Empty places by code",
    "overview: Workers that do not answer",
    "store: Files of other formats",
    "store: Files that could not be decoded",
    "store: Objects that could not be read",
    "stream: Dead letters by code",
    "stream: Skipped",
    "stream: Spans of traces",
}
"""Panels that are empty while nothing fails and nothing changes, is encrypted, is traced, or is
compared with a reference or a list of known pictures."""


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl, stream: PodStream, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> Release:
    values = {**chart_values(kafka_for_pods, s3_for_pods, stream), "mode": "kuberay"}
    values["settings"]["workers"]["count"] = values["workers"]["replicas"] = 2
    job = {
        "name": "once",
        "source": f"s3://{stream.one_image[0]}/",
        "output": f"s3://{stream.derived}/once",
        "resources": values["workers"]["resources"],
        "ttlSecondsAfterFinished": 1,
    }
    if asked():
        values["backfill"] = {"jobs": [job]}
    release = Release(namespace, values)
    with release.install() as running:
        end(running)
    return release


def test_helm_test_waits_for_the_cluster_and_classifies_one_object(release: Release) -> None:
    printed = release.helm("test", NAME, "--timeout", "8m")
    assert "Phase:          Succeeded" in printed
    assert "was classified" in printed


def test_ray_refuses_a_client_without_the_token(release: Release) -> None:
    (head,) = release.pods("head")
    asks = ("exec", head, "-c", "driver", "--")
    command = ("ray", "health-check", "--address", "127.0.0.1:6379")
    release.kubectl(*asks, *command)
    with pytest.raises(KubectlError, match="Authentication token is missing or incorrect"):
        release.kubectl(*asks, "env", "-u", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE=disabled", *command)


@pytest.mark.on_demand("make cluster-tests")
def test_a_backfill_succeeds_on_a_cluster_of_its_own(release: Release, stream: PodStream) -> None:
    def succeeded() -> bool:
        (job,) = release.kubectl.get("rayjobs")["items"]
        status = job.get("status", {})
        assert status.get("jobDeploymentStatus") != "Failed", status
        return bool(status.get("jobStatus") == "SUCCEEDED")

    eventually(succeeded, READY_S, interval_s=1)
    written = stream.derived_folder("once/").read("data/000000.parquet")
    assert written
    assert pq.read_table(io.BytesIO(written.body)).num_rows == IMAGES
    # Its cluster goes. What handed the command to the cluster stays with the RayJob.
    eventually(
        lambda: (
            [it["status"]["phase"] for it in release.pods("backfill").values()] == ["Succeeded"]
        ),
        READY_S,
        interval_s=1,
    )


def test_prometheus_answers_every_panel_and_rule_from_the_drivers_port(
    release: Release, stream: PodStream, tmp_path: Path
) -> None:
    (head,) = release.pods("head").values()
    address = f"{head['status']['podIP']}:{HEALTH}"
    target = {
        "targets": [address],
        "labels": {"namespace": release.kubectl.namespace, "pod": head["metadata"]["name"]},
    }
    scrape = {"job_name": "clipstream", "metrics_path": "/metrics/all", "static_configs": [target]}
    # For large fleets: the driver names its workers, and Prometheus asks these.
    named = {"url": f"http://{address}/targets", "refresh_interval": "1s"}
    workers = {"job_name": "workers", "http_sd_configs": [named]}
    with Prometheus(tmp_path, [scrape, workers], rules_file(defaults())) as prometheus:
        eventually(lambda: bool(prometheus.query("clipstream_worker_up == 1")), interval_s=0.5)
        eventually(lambda: len(prometheus.query('up{job="workers"} == 1')) == 2, interval_s=0.5)
        for _ in range(10):
            stream.send(PARTITIONS)
            stream.until_all()
        empty = PANELS.keys() - panels_with_data(prometheus)
        assert prometheus.failing_rules() == {}
    of_the_stream = ("overview", "stream", "store", "kafka", "decisions")
    assert {title for title in empty if title.startswith(of_the_stream)} <= QUIET


@pytest.mark.on_demand("make cluster-tests")
def test_a_changed_label_set_takes_effect_and_no_pod_restarts(
    release: Release, stream: PodStream
) -> None:
    before = {role: release.identities(role) for role in ("head", "worker")}
    stream.until_all()
    old = set.union(*stream.label_sets.values())
    files = release.values["labelSets"]["files"]
    changed = {"files": {"shapes": files["shapes"].replace("0.8", "0.7")}}
    release.values = {**release.values, "labelSets": changed}
    with release.upgrade(*WITHOUT_DOCTOR) as running:
        end(running)
    eventually(lambda: stream.classified_by_another(old), READY_S, interval_s=2)
    assert {role: release.identities(role) for role in before} == before


def test_a_spot_notice_hands_the_partitions_of_a_worker_to_the_other(
    release: Release, stream: PodStream, result: dict[str, Any]
) -> None:
    eventually(lambda: len(set(stream.owners().values())) == 2, READY_S, interval_s=1)
    eventually(lambda: release.evictable() == 1, READY_S, interval_s=0.5)
    before, owners = release.identities("worker"), stream.owners()
    leaver = next(iter(before))
    with stream.under_load() as sent:
        with watched_end(release.kubectl, leaver) as codes:
            evict(release.kubectl, leaver, NOTICE_S)
            noticed = time.time()
            eventually(lambda: len(set(stream.owners().values())) == 1, READY_S, interval_s=0.5)
        (stayed,) = set(stream.owners().values())
        eventually(lambda: len(set(stream.owners().values())) == 2, READY_S, interval_s=1)
        again = time.time()
    stream.until_all()
    others = {partition for partition, owner in owners.items() if owner == stayed}
    result["notice"] = cost_of_a_notice(
        "spot notice to one of two worker pods", stream.published(sent), others, noticed, again
    )
    assert codes == {"ray-worker": ENDED_BY_SIGTERM}
    assert before[leaver] not in release.identities("worker").values()


def test_an_evicted_head_drains_and_comes_back(
    release: Release, stream: PodStream, result: dict[str, Any]
) -> None:
    before = release.identities("head")
    (head,) = before
    with stream.under_load() as sent:
        with watched_end(release.kubectl, head) as codes:
            evict(release.kubectl, head)
        eventually(lambda: release.another_is_ready("head", before), READY_S, interval_s=0.5)
    stream.until_all()
    longest = pauses("eviction of the head", stream.published(sent))
    result["head_evicted"] = {"without_an_outcome_s": longest}
    assert codes == {"driver": 0, "ray-head": ENDED_BY_SIGTERM}


def test_an_upgrade_under_load_replaces_the_cluster_and_loses_nothing(
    release: Release, stream: PodStream, result: dict[str, Any]
) -> None:
    head, workers = release.identities("head"), release.identities("worker")
    release.values = changed(release.values, "batch", max_size=4)
    # It is complete; another setting would make another job of it.
    release.values.pop("backfill", None)
    with stream.under_load() as sent:
        with release.upgrade() as running:
            end(running)
        eventually(lambda: release.another_is_ready("head", head), READY_S, interval_s=0.5)
    stream.until_all()
    longest = pauses("upgrade of the cluster", stream.published(sent))
    result["upgrade"] = {"without_an_outcome_s": longest}
    assert not set(workers.values()) & set(release.identities("worker").values())


@pytest.mark.on_demand("make cluster-tests")
@pytest.mark.parametrize(("spoilt", "reason"), SPOILT)
def test_a_rollback_replaces_a_cluster_that_never_works(
    release: Release,
    stream: PodStream,
    spoilt: Callable[[Values], Values],
    reason: str,
) -> None:
    good, revision = release.values, release.revision()
    release.values = spoilt(good)
    with release.upgrade(*WITHOUT_DOCTOR) as running:
        end(running)
    eventually(lambda: release.a_pod_is_stopped_by("head", reason), READY_S, interval_s=1)
    release.values = good
    release.helm("rollback", NAME, str(revision))
    stream.send(PARTITIONS)
    stream.until_all()


def test_the_judge_of_the_faults_finds_each_outcome_once_in_order_and_committed(
    release: Release, stream: PodStream
) -> None:
    stream.judge()
