"""One release of the chart on the real node, mode `deployment`: one pod, one worker.

Each test leaves a pod that works to the next one.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from tests.rigs.kubernetes.release import (
    NAME,
    OBJECTS,
    READY_S,
    HelmFailed,
    Release,
    chart_values,
    end,
    evict,
    watched_end,
)
from tests.rigs.kubernetes.stream import OUTCOMES_S, PARTITIONS, PodStream
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.component, pytest.mark.kubelet, pytest.mark.timeout(900)]

REFERENCES = 60

STATEFUL_SET = f"statefulset/{OBJECTS}"
FIRST, SECOND = f"{OBJECTS}-0", f"{OBJECTS}-1"


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl, stream: PodStream, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> Release:
    release = Release(namespace, chart_values(kafka_for_pods, s3_for_pods, stream))
    began = time.monotonic()
    stream.send(1)
    with release.install() as running:
        eventually(lambda: stream.poll() == 1, OUTCOMES_S)
        print(f"from `helm install` to the first outcome: {time.monotonic() - began:.0f} s")
        end(running)
    return release


def changed(values: dict[str, Any], section: str, **settings: Any) -> dict[str, Any]:
    """The values with other settings of a section."""
    copied = copy.deepcopy(values)
    copied["settings"].setdefault(section, {}).update(settings)
    return copied


def test_helm_test_classifies_one_object(release: Release) -> None:
    printed = release.helm("test", NAME, "--timeout", "5m")
    assert "Phase:          Succeeded" in printed
    assert "was classified" in printed


def test_every_reference_has_one_outcome(release: Release, stream: PodStream) -> None:
    stream.send(REFERENCES)
    stream.until_all()
    assert stream.dead_letters == 0
    assert stream.members() == {f"{FIRST}-0"}


def test_an_evicted_pod_drains_and_comes_back(release: Release, stream: PodStream) -> None:
    before = release.identities("driver")
    stream.send(REFERENCES)
    with watched_end(release.kubectl, FIRST) as codes:
        evict(release.kubectl, FIRST)
    assert codes == {"driver": 0}
    stream.send(REFERENCES)
    stream.until_all()
    assert set(release.identities("driver")) == {FIRST}
    assert release.identities("driver") != before


def test_an_upgrade_under_load_loses_and_doubles_nothing(
    release: Release, stream: PodStream
) -> None:
    before = release.identities("driver")
    release.values = changed(release.values, "batch", max_size=4)
    sent = set[bytes]()
    with release.upgrade() as running:
        while running.poll() is None:
            sent.update(stream.send(PARTITIONS))
            stream.poll()
        end(running)
    sent.update(stream.send(REFERENCES))
    stream.until_all()
    assert not set(before.values()) & set(release.identities("driver").values())
    print("longest time without an outcome, by partition:", stream.gaps_s(sent))


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
    with release.upgrade("--set", "doctor.enabled=false") as running:
        end(running)

    def all_are_classified_by_the_new_one() -> bool:
        sent = stream.send(5 * PARTITIONS)
        stream.until_all()
        return not any(old & stream.label_sets[key] for key in sent)

    eventually(all_are_classified_by_the_new_one, READY_S, interval_s=2)
    assert release.identities("driver") == before


def test_a_setting_that_does_not_work_changes_nothing(release: Release) -> None:
    before = release.identities("driver")
    good = release.values
    release.values = changed(good, "s3", endpoint="http://127.0.0.1:9")
    with pytest.raises(HelmFailed, match="pre-upgrade"), release.upgrade() as running:
        end(running)
    release.values = good
    assert release.identities("driver") == before


def test_a_removed_pod_gives_its_partitions_back_at_once(
    release: Release, stream: PodStream
) -> None:
    release.kubectl("scale", STATEFUL_SET, "--replicas=2")
    eventually(lambda: stream.members() == {f"{FIRST}-0", f"{SECOND}-0"}, READY_S, interval_s=1)
    with watched_end(release.kubectl, SECOND) as codes:
        release.kubectl("scale", STATEFUL_SET, "--replicas=1")
    # A member that ends without leaving stays for delivery.session_timeout_s, which is 45 s.
    assert stream.members() == {f"{FIRST}-0"}
    assert codes == {"driver": 0}
    stream.send(REFERENCES)
    stream.until_all()


def test_a_rollback_after_a_bad_setting(release: Release, stream: PodStream) -> None:
    good = release.values
    release.values = changed(good, "model", directory="/nowhere")
    with (
        pytest.raises(HelmFailed),
        release.upgrade("--set", "doctor.enabled=false", "--timeout", "40s") as running,
    ):
        end(running)
    release.values = good
    # Without a number Helm takes the revision before, which may be one that failed.
    release.helm("rollback", NAME, str(release.last_good()))
    # A StatefulSet waits for ever for a pod that does not become Ready.
    release.kubectl("delete", "pod", FIRST, "--wait=false")
    stream.send(REFERENCES)
    stream.until_all()


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
