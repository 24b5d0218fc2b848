"""One release of the chart on the real node, mode `kuberay`: a head with the driver, one worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.monitoring.boards import BOARDS
from deploy.dev.monitoring.rules import defaults, rules_file
from tests.rigs.kubernetes.release import NAME, Release, chart_values, end, watched_end
from tests.rigs.kubernetes.stream import PARTITIONS, PodStream
from tests.rigs.services.panels import panels_with_data
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.component, pytest.mark.kubelet, pytest.mark.timeout(900)]

REFERENCES = 60
HEALTH = 8080

QUIET = {
    "decisions: Changes",
    "decisions: Images without a decision",
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
}
"""Panels that are empty while nothing fails, nothing changes, and nothing is encrypted."""


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl, stream: PodStream, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> Release:
    values = {**chart_values(kafka_for_pods, s3_for_pods, stream), "mode": "kuberay"}
    release = Release(namespace, values)
    with release.install() as running:
        end(running)
    return release


def test_helm_test_waits_for_the_cluster_and_classifies_one_object(release: Release) -> None:
    printed = release.helm("test", NAME, "--timeout", "8m")
    assert "Phase:          Succeeded" in printed
    assert "was classified" in printed


def test_prometheus_answers_every_panel_and_rule_from_the_drivers_port(
    release: Release, stream: PodStream, tmp_path: Path
) -> None:
    (head,) = release.pods("head").values()
    target = {
        "targets": [f"{head['status']['podIP']}:{HEALTH}"],
        "labels": {"namespace": release.kubectl.namespace, "pod": head["metadata"]["name"]},
    }
    scrape = {"job_name": "clipstream", "metrics_path": "/metrics/all", "static_configs": [target]}
    with Prometheus(tmp_path, [scrape], rules_file(defaults())) as prometheus:
        eventually(lambda: bool(prometheus.query("clipstream_worker_up == 1")), interval_s=0.5)
        for _ in range(10):
            stream.send(PARTITIONS)
            stream.until_all()
        every = {f"{board.name}: {panel.title}" for board in BOARDS for panel in board.panels}
        empty = every - panels_with_data(prometheus)
        assert prometheus.failing_rules() == {}
    of_the_stream = ("overview", "stream", "store", "kafka", "decisions")
    assert {title for title in empty if title.startswith(of_the_stream)} <= QUIET


def test_a_deleted_head_drains_and_comes_back(release: Release, stream: PodStream) -> None:
    (head,) = release.pods("head")
    sent = set(stream.send(PARTITIONS))
    with watched_end(release.kubectl, head) as codes:
        release.kubectl("delete", "pod", head, "--wait=false")
    assert codes["driver"] == 0
    back = set(stream.send(1))
    while not back & stream.outcomes.keys():
        sent.update(stream.send(PARTITIONS))
        stream.poll()
    stream.until_all()
    print("longest time without an outcome, by partition:", stream.gaps_s(sent))


def test_a_deleted_worker_pod_loses_nothing(release: Release, stream: PodStream) -> None:
    (before,) = release.identities("worker").values()
    stream.send(REFERENCES)
    release.kubectl(*("delete", "pod", "--wait=false"), *release.pods("worker"))
    stream.send(REFERENCES)
    eventually(lambda: before not in release.identities("worker").values(), interval_s=0.5)
    stream.send(REFERENCES)
    stream.until_all()
