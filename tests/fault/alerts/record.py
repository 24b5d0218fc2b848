"""What was seen of alerts and panels in their last real run: ``fired/TEMPLATE.json``.

There is one file for each template of monitoring/rules. It has the alerts of the template that have
fired and were resolved again, and the panels of the dashboards that had data meanwhile. A run
replaces only what it has seen itself, so one test can be run again alone.

An alert's ``seconds`` count from the fault until the alert was seen, with all times of the rules at
a sixtieth. They are upper bounds: the fault has to take effect first, and the machine was busy.

``tests/unit/monitoring/test_fired.py`` fails when an alert or a panel is missing here, or has
changed since its run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.dev.monitoring.boards import PANELS
from deploy.dev.monitoring.expressions import selections
from deploy.dev.monitoring.rules import defaults, rendered, scaled, templates
from tests.rigs.checkout import commit

FASTER = 60
"""By this all times of the rules are divided in these runs."""

WRITE = "CLIPSTREAM_TEST_RECORD"
"""The environment variable that lets a run write its record: ``yes``."""

FOLDER = Path(__file__).parent / "fired"

_OF_A_VARIABLE = re.compile(r'\w+=~"\$\w+\|?",?')


class Record:
    """Of one run and one template, say ``stream``."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._fired: dict[str, dict[str, Any]] = {}
        self._panels: set[str] = set()

    def fired(self, labels: Mapping[str, str], seconds: float) -> None:
        """An alert was seen ``seconds`` after its fault, with these labels, and was resolved."""
        name, severity = labels["alertname"], labels["severity"]
        others = {key: labels[key] for key in sorted(labels.keys() - {"alertname", "severity"})}
        entry = key_of(name, severity)
        self._fired[entry] = {
            "seconds": round(seconds, 1),
            "labels": others,
            "rule": rule_digests(self._template)[entry],
        }

    def had_data(self, panels: Iterable[str]) -> None:
        """Each query of these panels had series. A panel is named as in ``panel_digests``."""
        self._panels.update(panels)

    def save(self, folder: Path = FOLDER) -> None:
        """Put what was seen into the template's file, and drop what no longer exists."""
        file = folder / f"{self._template}.json"
        before = recorded(self._template, folder)
        rules, digests = rule_digests(self._template), panel_digests()
        run = {"measured": datetime.now(UTC).date().isoformat(), "commit": commit(FOLDER)}
        seen = {title: {"queries": digests[title], **run} for title in self._panels}
        panels = before["panels"] | seen
        fired = before["alerts"] | {entry: alert | run for entry, alert in self._fired.items()}
        kept = {
            "faster": FASTER,
            "alerts": {entry: fired[entry] for entry in sorted(fired.keys() & rules.keys())},
            "panels": {title: panels[title] for title in sorted(panels.keys() & digests.keys())},
        }
        folder.mkdir(exist_ok=True)
        file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def may_write() -> bool:
    return os.environ.get(WRITE) == "yes"


def recorded(template: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The template's file: ``alerts`` by ``key_of``, and ``panels`` by name. Each entry has digests
    and the day and commit of its run."""
    file = folder / f"{template}.json"
    if not file.exists():
        return {"alerts": {}, "panels": {}}
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def key_of(name: str, severity: str) -> str:
    """Two rules may share a name: one pages, one is a ticket."""
    return f"{name} {severity}"


def rule_digests(template: str) -> Mapping[str, str]:
    """Each alert of a template, by ``key_of`` → a digest of what decides when it fires.

    That is its expression, how long the expression must hold, its labels, and the expressions of
    the recorded series that it reads, all as rendered for these runs. Its texts do not count.
    """
    rules = list(_rules())
    series = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    own = yaml.safe_load(rendered(templates()[template], _parameters()))
    return {
        key_of(rule["alert"], rule["labels"]["severity"]): _digest(
            rule["expr"], rule.get("for"), rule["labels"], _read(rule["expr"], series)
        )
        for group in own["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def panel_digests() -> Mapping[str, str]:
    """Each panel as ``board: title`` → a digest of its queries. Panels of a GPU are left out.

    Matchers of variables do not count: with *All*, as runs ask, they match every series.
    """
    return {
        name: _digest([_OF_A_VARIABLE.sub("", query.expr) for query in panel.queries])
        for name, panel in PANELS.items()
        if not panel.device
    }


def _parameters() -> Mapping[str, Any]:
    return scaled(defaults(), FASTER)


def _rules() -> Iterator[dict[str, Any]]:
    for template in templates().values():
        for group in yaml.safe_load(rendered(template, _parameters()))["groups"]:
            yield from group["rules"]


def _read(expression: str, series: Mapping[str, str]) -> Mapping[str, str]:
    """The recorded series that an expression reads, and those that these read."""
    found: dict[str, str] = {}
    for selected in selections(expression):
        if selected.series in series:
            text = series[selected.series]
            found |= {selected.series: text, **_read(text, series)}
    return found


def _digest(*parts: Any) -> str:
    # Line breaks and indents in an expression mean nothing.
    text = " ".join(json.dumps(parts, sort_keys=True).replace("\\n", " ").split())
    return hashlib.sha256(text.encode()).hexdigest()[:16]
