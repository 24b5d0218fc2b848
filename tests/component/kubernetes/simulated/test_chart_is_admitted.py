"""The API server takes every example of the chart, in a namespace that enforces `restricted`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deploy.dev.cluster.clusters import Cluster
from deploy.dev.cluster.kubectl import Kubectl
from tests.rigs.charts import EXAMPLES, Object, all_parts, example, objects
from tests.rigs.kubernetes.namespaces import own_namespace

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def namespace(simulated_cluster: Cluster) -> Iterator[Kubectl]:
    """One for all: nothing but ServiceAccounts is made in it."""
    with own_namespace(simulated_cluster, "admission", played=True) as kubectl:
        yield kubectl


def strictly(kubectl: Kubectl, manifest: list[Object]) -> str:
    """What the API server answers. It refuses fields that it does not know. It warns of pod
    templates that PodSecurity refuses, and kubectl makes errors of warnings."""
    # A pod is refused without its ServiceAccount.
    accounts = [each for each in manifest if each["kind"] == "ServiceAccount"]
    kubectl.apply(*accounts)
    listed = {"apiVersion": "v1", "kind": "List", "items": manifest}
    return kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"),
        stdin=yaml.safe_dump(listed),
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_admitted(path: Path, namespace: Kubectl) -> None:
    manifest = example(path, namespace=namespace.namespace)
    answer = strictly(namespace, manifest)
    assert answer.count("(server dry run)") == len(manifest)


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_what_no_example_has_is_admitted_too(mode: str, namespace: Kubectl) -> None:
    manifest = objects(all_parts(mode), namespace=namespace.namespace)
    assert strictly(namespace, manifest).count("(server dry run)") == len(manifest)
