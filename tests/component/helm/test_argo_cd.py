"""The chart by Argo CD, with the values of the example: what comes before what."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.dev.cluster.programs import KEDA, KUBERAY
from tests.rigs.charts import Object, objects, one
from tests.rigs.kubernetes.argo_cd import APPLICATIONS, wave

CLIPSTREAM = APPLICATIONS["clipstream"]
OPERATORS = {"ray.io": "kuberay-operator", "keda.sh": "keda"}
"""By the group of the objects whose kinds they bring."""


def manifest(**more: Any) -> list[Object]:
    return objects({**CLIPSTREAM["spec"]["source"]["helm"]["valuesObject"], **more})


@pytest.mark.parametrize(
    ("more", "needed"),
    [({}, {"keda"}), ({"mode": "kuberay", "keda": {"enabled": False}}, {"kuberay-operator"})],
)
def test_operators_come_in_an_earlier_wave_than_objects_of_their_kinds(
    more: dict[str, Any], needed: set[str]
) -> None:
    groups = {each["apiVersion"].rpartition("/")[0] for each in manifest(**more)}
    of_operators = {each for each in groups if "." in each and not each.endswith(".k8s.io")}
    assert {OPERATORS[each] for each in of_operators} == needed
    for name in needed:
        assert wave(APPLICATIONS[name]) < wave(CLIPSTREAM)


def test_the_operators_are_of_the_versions_that_were_tried() -> None:
    for name, version in (("kuberay-operator", KUBERAY), ("keda", KEDA)):
        assert f"v{APPLICATIONS[name]['spec']['source']['targetRevision']}" == version


def test_the_checks_wait_for_what_they_mount_and_for_no_driver() -> None:
    """Drivers may wait for topics that the checks create."""
    made = manifest()
    checks = one(made, "Job", "live-clipstream-doctor")
    files = one(made, "ConfigMap", "live-clipstream-doctor")
    for hook in (checks, files):
        assert hook["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"
    assert wave(checks) <= wave(one(made, "StatefulSet"))
    # In one wave Argo CD makes ServiceAccounts and ConfigMaps before Jobs.
    assert max(wave(files), wave(one(made, "ServiceAccount"))) <= wave(checks)
