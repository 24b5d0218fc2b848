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
