"""The health checks of the example for Argo CD, run as Lua against what KubeRay has written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.dev.cluster import programs
from tests.rigs.kubernetes.argo_cd import health
from tests.rigs.kubernetes.results import RESULTS

RESULT = json.loads((RESULTS / "simulated_argo_cd.json").read_text(encoding="utf-8"))
CLUSTERS: dict[str, Any] = RESULT["clusters"]


@pytest.mark.parametrize(
    ("state", "wanted", "because"),
    [
        ("starting", "Progressing", "being provisioned for first time"),
        ("works", "Healthy", ""),
        ("a worker is lost", "Progressing", "0 of 1 workers are Ready"),
        ("the head is lost", "Progressing", "the head is not Ready"),
        ("works again", "Healthy", ""),
        ("suspended", "Suspended", ""),
        ("no pod is admitted", "Degraded", "exceeded quota"),
    ],
)
def test_a_cluster_has_the_health_of_its_state(state: str, wanted: str, because: str) -> None:
    found, why = health(CLUSTERS[state])
    assert found == wanted
    assert because in why
    assert bool(because) == bool(why)


def test_every_state_that_was_seen_is_judged_for_the_kuberay_of_now() -> None:
    assert RESULT["versions"]["kuberay"] == programs.KUBERAY, "run `make cluster-tests`"
    # Why the check reads the conditions.
    assert {name: each["status"].get("state") for name, each in CLUSTERS.items()} == {
        "starting": None,
        "works": "ready",
        "a worker is lost": "ready",
        "the head is lost": "ready",
        "works again": "ready",
        "suspended": "suspended",
        "no pod is admitted": "suspended",
    }


def test_what_kuberay_has_not_seen_is_not_judged_by_what_it_said_before() -> None:
    works = CLUSTERS["works"]
    new = {**works, "metadata": {"generation": works["metadata"]["generation"] + 1}}
    unseen = ("Progressing", "KubeRay has not seen the last change")
    assert health(new) == unseen
    assert health({key: each for key, each in new.items() if key != "status"}) == unseen


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, ("Progressing", "")),
        ({"sync": {"status": "OutOfSync"}}, ("Progressing", "")),
        ({"health": {"status": "Healthy"}}, ("Healthy", "")),
        ({"health": {"status": "Degraded", "message": "no pods"}}, ("Degraded", "no pods")),
    ],
)
def test_an_application_is_as_healthy_as_argo_cd_has_found_it(
    status: dict[str, Any] | None, told: tuple[str, str]
) -> None:
    application = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {}}
    assert health({**application, "status": status} if status else application) == told
