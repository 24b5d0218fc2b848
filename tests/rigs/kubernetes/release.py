"""A release of the chart in a namespace of the real node, and the end of one of its pods."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from deploy.dev.cluster import supplies
from deploy.dev.cluster.kubectl import Kubectl, Object, has_condition
from deploy.dev.cluster.programs import program
from tests.rigs.charts import CHART
from tests.rigs.kubernetes.stream import PodStream
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

NAME = "live"
"""Of the release. The chart's objects are called ``live-clipstream``."""
OBJECTS = f"{NAME}-clipstream"

PATIENCE_S = 480.0
"""For each command of Helm. On an idle machine none takes longer than 60 s."""

READY_S = 300.0

WITHOUT_DOCTOR = ("--set", "doctor.enabled=false")
"""For values that *doctor* would refuse, or of which a test need not hear."""

FINALIZER = "clipstream.dev/test-reads-exit-codes"


class HelmFailed(RuntimeError):
    """Helm has failed; the message has its words."""


class Release:
    """Commands of Helm for one release. ``values`` are what the next ``upgrade`` installs."""

    def __init__(self, kubectl: Kubectl, values: dict[str, Any]) -> None:
        self.kubectl = kubectl
        self.values = values

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """What the command prints. Raises ``HelmFailed`` with it when the command fails."""
        with self.begin(*arguments, values=values) as running:
            return end(running)

    def begin(
        self, *arguments: str, values: Mapping[str, Any] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command; ``end`` waits for it."""
        given = () if values is None else ("--values", "-")
        running = subprocess.Popen(
            [
                *(program("helm"), "--kubeconfig", str(self.kubectl.kubeconfig)),
                *("--namespace", self.kubectl.namespace, *arguments, *given),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert running.stdin
        running.stdin.write(json.dumps(values or {}))
        running.stdin.close()
        running.stdin = None
        return running

    def install(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin an installation that returns when the pods are Ready."""
        wait = ("--wait", "--timeout", f"{PATIENCE_S:g}s")
        return self.begin("install", NAME, str(CHART), *wait, *arguments, values=self.values)

    def upgrade(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin an upgrade to ``values`` that returns when the pods are Ready."""
        wait = ("--wait", "--timeout", f"{PATIENCE_S:g}s")
        return self.begin("upgrade", NAME, str(CHART), *wait, *arguments, values=self.values)

    def revision(self) -> int:
        """The number of the latest revision."""
        (latest,) = json.loads(self.helm("history", NAME, "--max", "1", "--output", "json"))
        return int(latest["revision"])

    def pods(self, component: str) -> dict[str, Object]:
        """Pods of a component by name."""
        selector = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component={component}"
        return {
            it["metadata"]["name"]: it for it in self.kubectl.get("pods", "-l", selector)["items"]
        }

    def identities(self, component: str) -> dict[str, str]:
        """The pods' UIDs by name: another pod of the same name has another one."""
        return {name: it["metadata"]["uid"] for name, it in self.pods(component).items()}

    def is_ready(self, component: str, pod: str) -> bool:
        """Whether there is a pod of this name that is ready and is not being deleted."""
        found = self.pods(component).get(pod)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return False
        return has_condition(found, "Ready")

    def another_is_ready(self, component: str, before: Mapping[str, str]) -> bool:
        """Whether a pod is ready that is none of these identities."""
        now = self.identities(component)
        return any(now[it] not in before.values() and self.is_ready(component, it) for it in now)

    def a_pod_is_stopped_by(self, component: str, reason: str) -> bool:
        """Whether a container of the component does not run for this reason: one of Kubernetes, or
        an ``exit code``."""
        for pod in self.pods(component).values():
            for container in pod["status"].get("containerStatuses", ()):
                for state in (container["state"], container.get("lastState", {})):
                    ended = state.get("terminated")
                    if ended and reason == f"exit code {ended['exitCode']}":
                        return True
                if container["state"].get("waiting", {}).get("reason") == reason:
                    return True
        return False

    def evictable(self) -> int:
        """Pods with workers that their budget lets go now."""
        budget = self.kubectl.get("poddisruptionbudget", f"{OBJECTS}-workers")
        return int(budget["status"].get("disruptionsAllowed", 0))


def end(running: subprocess.Popen[str]) -> str:
    """What a command of Helm has printed, after its end."""
    printed, _ = running.communicate(timeout=PATIENCE_S + 60)
    if running.returncode != 0:
        raise HelmFailed(printed)
    return printed


@contextmanager
def watched_end(kubectl: Kubectl, pod: str) -> Iterator[dict[str, int]]:
    """Exit codes of the pod's containers by name, filled after the block has ended the pod.

    A pod that is gone has no exit code, so the pod is kept until its codes were read.
    """
    codes: dict[str, int] = {}
    _set_finalizers(kubectl, pod, [FINALIZER])
    try:
        yield codes
        eventually(lambda: len(_terminated(kubectl, pod)) > 0, READY_S, interval_s=0.3)
        codes.update(_terminated(kubectl, pod))
    finally:
        _set_finalizers(kubectl, pod, [])


def evict(kubectl: Kubectl, pod: str, grace_s: int | None = None) -> None:
    """Ask for the pod's eviction, as `kubectl drain` does. A budget may refuse it.

    ``grace_s`` takes the place of the pod's own grace period, as with the notice of a spot node.
    """
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": kubectl.namespace},
        "deleteOptions": {} if grace_s is None else {"gracePeriodSeconds": grace_s},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def chart_values(kafka: EmbeddedKafka, s3: S3Server, stream: PodStream) -> dict[str, Any]:
    """Values for the stream: the thin image, the developer's code, one worker."""
    values = supplies.chart_values(kafka.bootstrap, s3)
    bucket, key = stream.one_image
    small = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    return {
        **values,
        "settings": stream.settings,
        "test": {**values["test"], "bucket": bucket, "key": key},
        "doctor": {"resources": small},
        "workers": {"resources": small, "replicas": 1},
    }


def _terminated(kubectl: Kubectl, pod: str) -> dict[str, int]:
    """Exit codes of the pod's containers, when all have ended."""
    containers = kubectl.get("pod", pod)["status"].get("containerStatuses", ())
    ended = {it["name"]: it["state"].get("terminated") for it in containers}
    if not all(ended.values()):
        return {}
    return {name: state["exitCode"] for name, state in ended.items() if state}


def _set_finalizers(kubectl: Kubectl, pod: str, finalizers: list[str]) -> None:
    patch = json.dumps({"metadata": {"finalizers": finalizers}})
    kubectl("patch", "pod", pod, "--type=merge", "-p", patch)
