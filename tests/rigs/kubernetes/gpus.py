"""How many pods hold GPUs at a time."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.dev.cluster.kubectl import Kubectl, Object
from deploy.dev.cluster.programs import program
from deploy.dev.cluster.simulation import GPU


class Holders:
    """Pods with GPUs, told by each change of a pod. ``most`` is the largest number at a time, and
    ``seen`` are the UIDs of all that held one."""

    def __init__(self) -> None:
        self.most = 0
        self.seen: set[str] = set()
        self._now: set[str] = set()

    def tell(self, event: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        # A node keeps a pod's GPUs until its containers have ended, also while the pod is deleted.
        if event != "DELETED" and _holds(pod):
            self._now.add(uid)
            self.seen.add(uid)
        else:
            self._now.discard(uid)
        self.most = max(self.most, len(self._now))


@contextmanager
def holders_of_gpus(kubectl: Kubectl) -> Iterator[Holders]:
    """Watches the namespace's pods, those that are there first."""
    watch = ("get", "pods", "--watch", "--output-watch-events", "-o", "json")
    watching = subprocess.Popen(
        [
            *(program("kubectl"), "--kubeconfig", str(kubectl.kubeconfig)),
            *("--namespace", kubectl.namespace, *watch),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    holders = Holders()
    reading = threading.Thread(target=_read, args=(watching, holders), name="pods")
    reading.start()
    try:
        yield holders
        assert watching.poll() is None, "kubectl has stopped watching"
    finally:
        watching.terminate()
        reading.join()
        watching.wait()
        if watching.stdout:
            watching.stdout.close()


def _read(watching: subprocess.Popen[str], holders: Holders) -> None:
    """Each line is an event."""
    for line in watching.stdout or ():
        event = json.loads(line)
        holders.tell(event["type"], event["object"])


def _holds(pod: Object) -> bool:
    """Whether the pod has been given a node, asks for GPUs, and has not ended."""
    spec = pod["spec"]
    asks = any(GPU in it["resources"].get("limits", {}) for it in spec["containers"])
    return asks and "nodeName" in spec and pod["status"]["phase"] not in ("Succeeded", "Failed")
