"""Every alert has fired in a real run, and every panel has had data in one: as they are now.

``make alert-tests`` writes the records. No record has the alerts and the panels of a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.dev.monitoring.boards.board import Panel, Query
from deploy.dev.monitoring.rules import templates
from tests.fault.alerts.record import Record, panel_digests, recorded, rule_digests
from tests.rigs.checkout import commit

OF_A_GPU = {"ClipstreamGpuStarved ticket", "ClipstreamGpuIdle ticket"}


@pytest.mark.parametrize("template", sorted(templates()))
def test_every_alert_has_fired_as_its_rule_is_now(template: str) -> None:
    fired = {alert: run["rule"] for alert, run in recorded(template)["alerts"].items()}
    due = {alert: rule for alert, rule in rule_digests(template).items() if alert not in OF_A_GPU}
    assert fired == due, "run `make alert-tests`, or the test of the alert alone"


def test_every_panel_has_had_data_for_its_queries_of_now() -> None:
    due = panel_digests()
    seen = {
        panel
        for template in templates()
        for panel, run in recorded(template)["panels"].items()
        if due.get(panel) == run["queries"]
    }
    assert sorted(due.keys() - seen) == [], "run `make alert-tests`"


# -- the record -----------------------------------------------------------------------------------

STORE_DOWN = {
    "alertname": "ClipstreamStoreDown",
    "severity": "page",
    "store": "s3",
    "namespace": "images",
}
PANEL = "store: Breakers"


def saved(folder: Path, labels: Mapping[str, str], seconds: float, panel: str) -> None:
    run = Record("stream")
    run.fired(labels, seconds)
    run.had_data([panel])
    run.save(folder)


def test_a_run_replaces_what_it_has_seen_and_keeps_the_rest(tmp_path: Path) -> None:
    defect = STORE_DOWN | {"alertname": "ClipstreamDefect", "severity": "ticket"}
    saved(tmp_path, STORE_DOWN, 9.0, PANEL)
    saved(tmp_path, defect, 3.0, "store: Bytes read")
    saved(tmp_path, STORE_DOWN, 8.26, PANEL)
    now = recorded("stream", tmp_path)
    stored = now["alerts"]["ClipstreamStoreDown page"]
    assert (stored.pop("measured"), stored.pop("commit").partition("-")[0]) == (
        datetime.now(UTC).date().isoformat(),
        commit().partition("-")[0],
    )
    assert stored == {
        "seconds": 8.3,
        "labels": {"namespace": "images", "store": "s3"},
        "rule": rule_digests("stream")["ClipstreamStoreDown page"],
    }
    assert now["alerts"].keys() == {"ClipstreamDefect ticket", "ClipstreamStoreDown page"}
    assert now["panels"].keys() == {PANEL, "store: Bytes read"}


def test_a_panels_digest_is_of_what_it_asks_with_all_variables_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def digest(expression: str) -> str:
        panel = Panel("a panel", "What it means.", "s", (Query(expression, "x"),))
        with monkeypatch.context() as patch:
            patch.setattr("tests.fault.alerts.record.PANELS", {"a board: a panel": panel})
            (found,) = panel_digests().values()
        return found

    before = digest('sum(up{namespace=~"$namespace",job="a"})')
    assert digest('sum(up{namespace=~"$namespace",release=~"$release",job="a"})') == before
    assert digest('sum(up{release=~"$release|",job="a"})') == before
    assert digest('sum(up{namespace=~"$namespace",job="b"})') != before
    assert digest('sum(up{release=~"live",job="a"})') != before


def test_a_digest_is_of_what_decides_when_an_alert_fires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = "ClipstreamDeadLetters ticket"
    before = rule_digests("stream")[alert]
    text = templates()["stream"]

    def changed(old: str, new: str) -> str:
        assert old in text
        every = {**templates(), "stream": text.replace(old, new)}
        with monkeypatch.context() as patch:
            patch.setattr("tests.fault.alerts.record.templates", lambda: every)
            return rule_digests("stream")[alert]

    assert changed("These images get", "Those images get") == before
    assert changed("letters:ratio > $", "letters:ratio\n            > $") == before
    assert changed("letters:ratio > $", "letters:ratio >= $") != before
    assert changed("for: ${dead_letter_for_s}s", "for: 1s") != before
    # The recorded series that it reads.
    assert changed("rate(clipstream_dead_letters", "irate(clipstream_dead_letters") != before
