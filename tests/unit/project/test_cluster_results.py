"""The last results of tests that `make cluster-tests` alone runs."""

from __future__ import annotations

import json

from tests.rigs.kubernetes.results import RESULTS
from tests.rigs.root import ROOT

PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def test_an_upgrade_of_http_servers_failed_no_request() -> None:
    measured = json.loads((RESULTS / "http_upgrade.json").read_text(encoding="utf-8"))["upgrade"]
    assert measured["failed"] == 0
    assert f"none of {measured['answered_from_then_on']:,} requests" in PAGE


def test_keda_followed_the_lag_up_to_the_maximum_and_back() -> None:
    measured = json.loads((RESULTS / "keda.json").read_text(encoding="utf-8"))
    release = ".".join(measured["versions"]["keda"].removeprefix("v").split(".")[:2])
    assert f"scales by {release} and the lag of a real Kafka" in PAGE
    scaled = measured["by_lag"]
    most = scaled["keda"]["maxReplicas"]
    assert [pods for _, pods in scaled["replicas"]] == [1, 3, most, 3, 2, 1]
    assert "SASL" in measured["wrong_password"]["told"]
