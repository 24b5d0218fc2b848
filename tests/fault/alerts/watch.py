"""Looks on while an alert fires and is resolved again."""

from __future__ import annotations

import time
from typing import Any

from tests.fault.alerts.record import Record
from tests.rigs.services.panels import panels_with_data
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.waiting import eventually

WITHIN_S = 300.0
"""Never met on a working system."""

LOOK_S = 0.2


class Watch:
    """Make it right before the fault. ``record`` gets each alert that fired and was resolved."""

    def __init__(self, prometheus: Prometheus, record: Record) -> None:
        self._prometheus = prometheus
        self._record = record
        self._began = time.monotonic()
        self._seen: list[tuple[dict[str, str], float]] = []

    def until_it_fires(
        self, name: str, severity: str, within_s: float = WITHIN_S, **labels: str
    ) -> dict[str, Any]:
        """Wait for an alert, with at least these labels; what Prometheus says of it.

        Raises:
            AssertionError: it has not fired within the time.
        """
        wanted = {"alertname": name, "severity": severity, **labels}
        eventually(lambda: bool(self._firing(wanted)), within_s, LOOK_S)
        seconds = time.monotonic() - self._began
        alert = self._firing(wanted)[0]
        self._seen.append((alert["labels"], seconds))
        self._record.had_data(panels_with_data(self._prometheus))
        return alert

    def until_it_is_resolved(
        self, name: str, severity: str, within_s: float = WITHIN_S, **labels: str
    ) -> None:
        """Wait until no alert with these labels fires.

        Raises:
            AssertionError: one still does after the time.
        """
        wanted = {"alertname": name, "severity": severity, **labels}
        eventually(lambda: not self._firing(wanted), within_s, LOOK_S)
        for seen, seconds in self._seen:
            if wanted.items() <= seen.items():
                self._record.fired(seen, seconds)

    def _firing(self, wanted: dict[str, str]) -> list[dict[str, Any]]:
        return [
            alert
            for alert in self._prometheus.firing_alerts()
            if wanted.items() <= alert["labels"].items()
        ]
