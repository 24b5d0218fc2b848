"""One release of the chart on the real node, mode `deployment`: one pod or two, a worker in each.

Each test leaves a pod that works to the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.monitoring.rules import defaults, rules_file
from tests.rigs.kubernetes.release import (
    NAME,
    OBJECTS,
    READY_S,
    WITHOUT_DOCTOR,
    HelmFailed,
    Release,
    chart_values,
    end,
    evict,
    watched_end,
)
from tests.rigs.kubernetes.spoilt import SPOILT, Values, changed
from tests.rigs.kubernetes.stream import OUTCOMES_S, PodStream, cost_of_a_notice, pauses
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.component, pytest.mark.kubelet, pytest.mark.timeout(900)]

REFERENCES = 60
NOTICE_S = 30
"""Of a spot node."""

STATEFUL_SET = f"statefulset/{OBJECTS}"
FIRST, SECOND = f"{OBJECTS}-0", f"{OBJECTS}-1"


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl,
    stream: PodStream,
    kafka_for_pods: EmbeddedKafka,
    s3_for_pods: S3Server,
    result: dict[str, Any],
) -> Release:
    values = chart_values(kafka_for_pods, s3_for_pods, stream)
    release = Release(namespace, {**values, "monitoring": {"annotations": True}})
    began = time.monotonic()
    stream.send(1)
    with release.install() as running:
        eventually(lambda: stream.poll() == 1, OUTCOMES_S)
        result["install_to_first_outcome_s"] = round(time.monotonic() - began)
        end(running)
    return release


def with_pods(release: Release, pods: int) -> Values:
    return {**release.values, "workers": {**release.values["workers"], "replicas": pods}}


def test_helm_test_classifies_one_object(release: Release) -> None:
    printed = release.helm("test", NAME, "--timeout", "5m")
    assert "Phase:          Succeeded" in printed
    assert "was classified" in printed


def test_every_reference_has_one_outcome(release: Release, stream: PodStream) -> None:
    stream.send(REFERENCES)
    stream.until_all()
    assert stream.dead_letters == 0
    assert stream.members() == {f"{FIRST}-0"}


def test_the_annotations_of_a_pod_name_the_port_and_path_of_its_workers_series(
    release: Release, tmp_path: Path
) -> None:
    (pod,) = release.pods("driver").values()
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    target = f"{pod['status']['podIP']}:{annotations['prometheus.io/port']}"
    scrape = {
        "job_name": "pods",
        "metrics_path": annotations["prometheus.io/path"],
        "static_configs": [{"targets": [target]}],
    }
    with Prometheus(tmp_path, [scrape], rules_file(defaults())) as prometheus:
        up = 'clipstream_worker_up{kind="stream"} == 1'
        eventually(lambda: len(prometheus.query(up)) == 1, READY_S, interval_s=0.5)
        assert prometheus.query("clipstream_model_info"), "what only a worker has"


def test_a_changed_label_set_takes_effect_and_no_pod_restarts(
    release: Release, stream: PodStream
) -> None:
    before = release.identities("driver")
    old = set.union(*stream.label_sets.values())
    files = release.values["labelSets"]["files"]
    release.values = {
        **release.values,
        "labelSets": {"files": {"shapes": files["shapes"].replace("0.8", "0.7")}},
    }
    with release.upgrade(*WITHOUT_DOCTOR) as running:
        end(running)

    eventually(lambda: stream.classified_by_another(old), READY_S, interval_s=2)
    assert release.identities("driver") == before


@pytest.mark.on_demand("make cluster-tests")
def test_a_setting_that_does_not_work_changes_nothing(release: Release) -> None:
    before = release.identities("driver")
    good = release.values
    release.values = changed(good, "s3", endpoint="http://127.0.0.1:9")
    with pytest.raises(HelmFailed, match="pre-upgrade"), release.upgrade() as running:
        end(running)
    release.values = good
    assert release.identities("driver") == before


def test_a_spot_notice_stops_only_the_partitions_of_its_pod(
    release: Release, stream: PodStream, result: dict[str, Any]
) -> None:
    release.values = with_pods(release, 2)
    with release.upgrade(*WITHOUT_DOCTOR) as running:
        end(running)
    eventually(lambda: len(set(stream.owners().values())) == 2, READY_S, interval_s=1)
    eventually(lambda: release.evictable() == 1, READY_S, interval_s=0.5)
    before, owners = release.identities("driver"), stream.owners()
    with stream.under_load() as sent:
        # As handlers of notices do, which drain the node with what the notice leaves.
        with watched_end(release.kubectl, SECOND) as codes:
            evict(release.kubectl, SECOND, NOTICE_S)
        left = time.time()
        eventually(lambda: release.is_ready("driver", SECOND), READY_S, interval_s=0.5)
        back = time.time()
    stream.until_all()
    stayed = {partition for partition, owner in owners.items() if owner == f"{FIRST}-0"}
    result["notice"] = cost_of_a_notice(
        "spot notice to one of two pods", stream.published(sent), stayed, left, back
    )
    assert codes == {"driver": 0}
    assert release.identities("driver")[SECOND] != before[SECOND]
    # A restart keeps its partitions.
    eventually(lambda: stream.owners() == owners, READY_S, interval_s=1)


def test_an_upgrade_under_load_replaces_pod_by_pod_and_loses_nothing(
    release: Release, stream: PodStream, result: dict[str, Any]
) -> None:
    before = release.identities("driver")
    release.values = changed(release.values, "batch", max_size=4)
    with stream.under_load() as sent, release.upgrade() as running:
        end(running)
    stream.until_all()
    assert not set(before.values()) & set(release.identities("driver").values())
    published = stream.published(sent)
    longest = pauses("upgrade of two pods", published)
    # One pod works while the other starts: the stream as a whole waits for no start.
    (without_any,) = pauses("of all partitions", {0: sorted(chain(*published.values()))}).values()
    assert without_any < min(longest.values()) / 2
    result["upgrade"] = {
        "without_an_outcome_s": longest,
        "without_any_outcome_s": without_any,
    }


def test_a_removed_pod_gives_its_partitions_back_at_once(
    release: Release, stream: PodStream
) -> None:
    # By kubectl: the pod is kept until its exit code was read, and Helm would wait for its end.
    with watched_end(release.kubectl, SECOND) as codes:
        release.kubectl("scale", STATEFUL_SET, "--replicas=1")
    # A member that ends without leaving stays for delivery.session_timeout_s, which is 45 s.
    assert stream.members() == {f"{FIRST}-0"}
    assert codes == {"driver": 0}
    # A rollback to a revision with another number of pods would end with a conflict.
    release.values = with_pods(release, 1)
    with release.upgrade(*WITHOUT_DOCTOR) as running:
        end(running)
    stream.send(REFERENCES)
    stream.until_all()


@pytest.mark.on_demand("make cluster-tests")
def test_a_bad_label_set_stops_nobody_and_is_rolled_back(
    release: Release, stream: PodStream
) -> None:
    """The kubelet shows a changed ConfigMap to its pods after a minute or so."""
    before, good, revision = release.identities("driver"), release.values, release.revision()
    release.values = {**good, "labelSets": {"files": {"shapes": "name: shapes"}}}
    with release.upgrade(*WITHOUT_DOCTOR) as running:
        end(running)
    eventually(lambda: "cannot be loaded" in release.kubectl("logs", FIRST), READY_S, interval_s=2)
    stream.send(REFERENCES)
    stream.until_all()
    release.values = good
    release.helm("rollback", NAME, str(revision))
    assert release.identities("driver") == before


@pytest.mark.on_demand("make cluster-tests")
@pytest.mark.parametrize(("spoilt", "reason"), SPOILT)
def test_a_rollback_mends_an_upgrade_whose_pods_never_start(
    release: Release,
    stream: PodStream,
    result: dict[str, Any],
    spoilt: Callable[[Values], Values],
    reason: str,
) -> None:
    good, revision = release.values, release.revision()
    release.values = spoilt(good)
    with (
        pytest.raises(HelmFailed),
        release.upgrade(*WITHOUT_DOCTOR, "--timeout", "15s") as running,
    ):
        end(running)
    eventually(lambda: release.a_pod_is_stopped_by("driver", reason), READY_S, interval_s=1)
    release.values = good
    began = time.monotonic()
    # Without a number Helm takes the revision before, which may have failed too.
    release.helm("rollback", NAME, str(revision))
    stream.send(REFERENCES)
    stream.until_all()
    took = round(time.monotonic() - began)
    result["rollback_to_last_outcome_s"] = max(took, result.get("rollback_to_last_outcome_s", 0))


def test_the_judge_of_the_faults_finds_each_outcome_once_in_order_and_committed(
    release: Release, stream: PodStream
) -> None:
    stream.judge()


def test_an_uninstalled_release_leaves_nothing(release: Release) -> None:
    release.helm("uninstall", NAME, "--wait", "--timeout", "5m")
    # A doctor that has failed stays for a person to read, until the next one or for an hour.
    left = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component!=doctor"
    kinds = "all,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets,secrets"
    # Helm does not wait for the pods.
    eventually(
        lambda: release.kubectl("get", kinds, "-l", left, "-o", "name") == "",
        READY_S,
        interval_s=0.5,
    )
