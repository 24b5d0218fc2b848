"""The last results of tests that `make cluster-tests` alone runs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.rigs.kubernetes.results import RESULTS
from tests.rigs.root import ROOT

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


MOST_S = {"release": 60.0, "ray_release": 120.0}
"""Without an outcome: what an upgrade or an eviction may cost a partition, by mode of the chart."""


MOST_BESIDE_S = 10.0
"""What a spot notice to one pod may cost a partition of the other: a rebalance."""


def measured_of(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "what", "told"),
    [
        ("release", "upgrade", "an upgrade of two pods under load, mode `deployment`"),
        ("release", "notice", "a spot notice to one of two pods, mode `deployment`"),
        ("ray_release", "upgrade", "an upgrade of a RayCluster under load"),
        ("ray_release", "notice", "a spot notice to one of two worker pods, mode `kuberay`"),
        ("ray_release", "head_evicted", "an eviction of the head, mode `kuberay`"),
    ],
)
def test_no_partition_waited_for_longer_than_it_may(name: str, what: str, told: str) -> None:
    measured = measured_of(name)[what]
    longest = max(measured["without_an_outcome_s"].values())
    assert longest <= MOST_S[name]
    others = [
        measured["without_an_outcome_s"][str(partition)]
        for partition in measured.get("partitions_of_the_other_pod", ())
    ]
    figure = f"{longest:.0f}"
    if others:
        assert max(others) <= MOST_BESIDE_S
        figure = f"its partitions {figure}, the other pod's {max(others):.0f}"
    if "without_any_outcome_s" in measured:
        whole = measured["without_any_outcome_s"]
        assert whole <= MOST_BESIDE_S
        figure = f"each partition {figure}, the stream as a whole {whole:.0f}"
    assert f"| {told} | {figure} |" in PAGE


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("install_to_first_outcome_s", "from `helm install` to the first outcome"),
        ("rollback_to_last_outcome_s", "from `helm rollback` to all outcomes"),
    ],
)
def test_the_page_has_the_times_of_the_last_run(what: str, told: str) -> None:
    assert f"| {told}, mode `deployment` | {measured_of('release')[what]} |" in PAGE


@pytest.mark.parametrize("source", ["hub", "baked", "volume", "s3"])
def test_the_page_has_the_time_of_each_source_of_weights(source: str) -> None:
    measured = measured_of("weights")["pending_to_first_outcome_s"]
    (row,) = re.findall(rf"^\| `{source}` \|.*$", PAGE, re.MULTILINE)
    assert row.endswith(f" | {measured[source]} |")


def test_an_upgrade_of_http_servers_failed_no_request() -> None:
    measured = measured_of("http_upgrade")["upgrade"]
    assert measured["failed"] == 0
    assert f"none of {measured['answered_from_then_on']:,} requests" in PAGE


def test_keda_followed_the_lag_up_to_the_maximum_and_back() -> None:
    measured = measured_of("keda")
    release = ".".join(measured["versions"]["keda"].removeprefix("v").split(".")[:2])
    assert f"scales by {release} and the lag of a real Kafka" in PAGE
    scaled = measured["by_lag"]
    most = scaled["keda"]["maxReplicas"]
    assert [pods for _, pods in scaled["replicas"]] == [1, 3, most, 3, 2, 1]
    assert "SASL" in measured["wrong_password"]["told"]


def test_rays_autoscaler_brought_a_pod_for_a_backlog_and_took_it_away() -> None:
    measured = measured_of("ray_autoscaler")
    (_, one), (came_s, two), (_, one_again) = measured["pods"]
    assert (one, two, one_again) == (1, 2, 1)
    read_s, gone_s = (
        measured["backlog"][it]
        for it in ("from_the_pod_to_its_worker_s", "from_the_last_outcome_to_one_pod_s")
    )
    told = (
        f"the second pod came {came_s:.0f} s after the backlog began. Its worker began to read "
        f"{read_s:.0f} s after that. The pod went {gone_s:.0f} s after the last outcome"
    )
    assert told in " ".join(PAGE.split())


def test_http_on_a_ray_cluster_came_back_in_time() -> None:
    measured = measured_of("ray_http")
    upgraded_s, deleted_s = (
        measured[it]["without_an_answer_s"] for it in ("upgrade", "head_deleted")
    )
    assert max(upgraded_s, deleted_s) <= MOST_S["ray_release"]
    assert max(measured["head_deleted"]["without_an_outcome_s"].values()) <= MOST_S["ray_release"]
    told = f"{upgraded_s:.0f} s at an upgrade, and for {deleted_s:.0f} s after its head was deleted"
    assert told in " ".join(PAGE.split())
