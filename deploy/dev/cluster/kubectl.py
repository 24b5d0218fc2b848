"""kubectl on one cluster, and in one namespace of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.dev.cluster import programs

Object = Mapping[str, Any]
"""A Kubernetes object, as JSON has it."""

DEADLINE_S = 120.0


class KubectlError(RuntimeError):
    """kubectl has failed; the message has its words."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl of the cluster's own version. ``namespace`` is the default of each command."""

    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    def __call__(self, *arguments: str, stdin: str = "", within_s: float = DEADLINE_S) -> str:
        """What the command prints. Raises ``KubectlError`` when it fails or is late."""
        program = programs.program("kubectl")
        try:
            done = subprocess.run(  # noqa: S603 - the command is ours, no shell
                [program, "--namespace", self.namespace, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise KubectlError(f"kubectl {' '.join(arguments)}: no end in {within_s:g} s") from late
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, *objects: Object) -> None:
        """Create or change the objects. A field that Kubernetes does not know is an error."""
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self("apply", "--server-side", "--validate=strict", "-f", "-", stdin=json.dumps(listed))

    def get(self, *what: str) -> Any:
        """An object, or a list whose ``items`` are objects: ``get("pods", "-l", "app=x")``."""
        return json.loads(self("get", *what, "-o", "json"))

    def wait(self, condition: str, *what: str, within_s: float = DEADLINE_S) -> None:
        """Block until the objects have the condition: ``wait("condition=Ready", "pod/x")``.

        They must exist. ``jsonpath=...`` and ``delete`` are conditions too.
        """
        self(
            "wait",
            f"--for={condition}",
            f"--timeout={within_s:g}s",
            *what,
            within_s=within_s + DEADLINE_S,
        )

    def patch_status(self, kind: str, name: str, status: Object) -> None:
        """Change an object's status, as its controller does."""
        patch = json.dumps({"status": status})
        self("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


def restricted_namespace(name: str) -> Object:
    """A namespace that admits only pods that satisfy PodSecurity `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def has_condition(of: Object, name: str) -> bool:
    """Whether an object has the condition, say ``Ready``. It has none before somebody writes it."""
    conditions = of.get("status", {}).get("conditions") or ()
    return any(it["type"] == name and it["status"] == "True" for it in conditions)
