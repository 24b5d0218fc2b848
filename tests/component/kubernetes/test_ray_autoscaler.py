"""Ray's autoscaler on the real node: a second worker pod for a backlog, an upgrade with two pods,
and one pod again.

Each test begins where the one before has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from tests.rigs.kubernetes.release import (
    READY_S,
    WITHOUT_DOCTOR,
    HelmFailed,
    Release,
    chart_values,
    end,
)
from tests.rigs.kubernetes.stream import OUTCOMES_S, PodStream
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [
    pytest.mark.component,
    pytest.mark.kubelet,
    pytest.mark.on_demand("make cluster-tests"),
    pytest.mark.timeout(1800),
]

AT_A_TIME, COMMITS_S = 8, 1.0
"""References that a worker has in hand, and the time between its commits. So it is slow, and two of
them do twice as much, on any machine."""

BACKLOG = 600
"""References without an outcome. One worker takes longer for them than ``drain_target_s``."""

SEND = 100

AUTOSCALER = {"enabled": True, "idleTimeoutSeconds": 5}
SCALING = {"count": 1, "max_count": 2, "drain_target_s": 30, "scale_in_window_s": 5}


@pytest.fixture(scope="module")
def installed(
    namespace: Kubectl, stream: PodStream, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> Release:
    values = {**chart_values(kafka_for_pods, s3_for_pods, stream), "mode": "kuberay"}
    settings = values["settings"]
    settings["workers"] |= SCALING
    settings["flow"] = {"max_in_flight": AT_A_TIME}
    settings["failure_budget"] = {"window": AT_A_TIME}
    settings["delivery"] = {"commit_interval_s": COMMITS_S}
    values["workers"] |= {"minReplicas": 1, "maxReplicas": 2}
    small = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    values["ray"] = {"autoscaler": {**AUTOSCALER, "resources": small}}
    release = Release(namespace, values)
    with release.install() as running:
        end(running)
    return release


class Pods:
    """How many worker pods there were, each number with the second in which it was first seen."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._began = time.monotonic()
        self.seen: list[tuple[float, int]] = []

    def now(self) -> int:
        number = len(self._release.pods("worker"))
        if not self.seen or self.seen[-1][1] != number:
            self.seen.append((self.elapsed_s, number))
        return number

    def become(self, number: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        def are() -> bool:
            meanwhile()
            return self.now() == number

        eventually(are, OUTCOMES_S, 1)

    @property
    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._began, 1)


@pytest.fixture(scope="module")
def workers(installed: Release, stream: PodStream) -> Pods:
    """The pods, from when one worker has had its first outcomes."""
    stream.send(AT_A_TIME)
    stream.until_all()
    return Pods(installed)


@pytest.fixture(scope="module")
def sent() -> list[bytes]:
    """References that the tests have sent."""
    return []


def readers(stream: PodStream) -> int:
    """Workers that read partitions."""
    return len(set(stream.owners().values()))


def test_a_backlog_brings_a_second_pod(
    release: Release, stream: PodStream, workers: Pods, sent: list[bytes], result: dict[str, Any]
) -> None:
    done = stream.poll()

    def keep_the_backlog() -> None:
        while done + len(sent) - stream.poll() < BACKLOG:
            sent.extend(stream.send(SEND))

    assert workers.now() == 1
    workers.become(2, keep_the_backlog)
    asked_s = workers.elapsed_s
    eventually(lambda: readers(stream) == 2, READY_S, 1)
    result["backlog"] = {
        "autoscaler": AUTOSCALER,
        "scaling": SCALING,
        "references": BACKLOG,
        "from_the_pod_to_its_worker_s": round(workers.elapsed_s - asked_s, 1),
    }


def test_an_upgrade_from_this_side_leaves_the_pods_and_one_by_the_server_conflicts(
    release: Release, stream: PodStream, workers: Pods
) -> None:
    """The autoscaler has written to the list of groups, which has one owner as a whole."""
    before = {role: release.identities(role) for role in ("head", "worker")}
    files = release.values["labelSets"]["files"]
    changed = {"files": {"shapes": files["shapes"].replace("0.8", "0.7")}}
    release.values = {**release.values, "labelSets": changed}
    with (
        pytest.raises(HelmFailed, match=r"conflict.*workerGroupSpecs"),
        release.upgrade(*WITHOUT_DOCTOR) as running,
    ):
        end(running)
    with release.upgrade(*WITHOUT_DOCTOR, "--server-side=false") as running:
        end(running)
    stream.until_all()
    assert {role: release.identities(role) for role in before} == before
    assert workers.now() == 2


def test_the_second_pod_goes_when_the_backlog_is_done(
    release: Release, stream: PodStream, workers: Pods, result: dict[str, Any]
) -> None:
    before, began_s = release.identities("worker"), workers.elapsed_s
    workers.become(1)
    result["pods"] = workers.seen
    result["backlog"]["from_the_last_outcome_to_one_pod_s"] = round(workers.elapsed_s - began_s, 1)
    assert release.identities("worker").items() <= before.items()
    assert readers(stream) == 1
    stream.send(AT_A_TIME)
    stream.until_all()


def test_a_later_upgrade_needs_no_option_and_replaces_the_cluster(
    release: Release, stream: PodStream
) -> None:
    before = release.identities("head")
    release.values["settings"]["batch"]["max_size"] = 4
    with release.upgrade() as running:
        end(running)
    eventually(lambda: release.another_is_ready("head", before), READY_S, 0.5)
    stream.send(AT_A_TIME)
    stream.until_all()
    eventually(lambda: len(release.pods("worker")) == 1, READY_S, 1)
