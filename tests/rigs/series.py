"""The series that Prometheus has of Clipstream, and what a query asks for beyond them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deploy.dev.monitoring.expressions import functions, grouping, selections
from deploy.dev.monitoring.rules import Rule, default_rules, rules_of
from pipeline import metrics
from pipeline.metrics import BACKFILL_JOB_METRICS, DRIVER_METRICS, Kind, Metric

RULES: Sequence[Rule] = [*rules_of(default_rules())]
ALERTS = [rule for rule in RULES if rule.is_alert]
RECORDED = {rule.name: rule for rule in RULES if not rule.is_alert}

SCRAPE = frozenset({"namespace", "release", "job", "instance"})
"""Labels that Prometheus adds, `namespace` in Kubernetes and `release` by the chart's monitors."""

WORKER = SCRAPE | {"kind", "worker", "group", "driver"}
"""Labels that the driver or the discovery file adds to a worker's series."""

OURS = {value.name: value for value in vars(metrics).values() if isinstance(value, Metric)}
OF_DRIVERS = {metric.name for metric in (*DRIVER_METRICS, *BACKFILL_JOB_METRICS)}

FURTHER = {
    "up": WORKER,  # also of a worker that Prometheus finds by the driver's /targets
    "ALERTS": SCRAPE | {"alertname", "alertstate", "severity"},
}
"""Series of Prometheus itself."""


def metric_of(series: str) -> Metric | None:
    """The metric of the catalogue that a series belongs to."""
    if series in OURS:
        return OURS[series]
    metric = OURS.get(re.sub("_(bucket|sum|count)$", "", series))
    return metric if metric is not None and metric.kind is Kind.HISTOGRAM else None


def labels_of(series: str) -> frozenset[str] | None:
    """The labels that a series can have; None if there is no such series. Those of a recorded one
    are what its rule groups by."""
    if series in FURTHER:
        return FURTHER[series]
    if series in RECORDED:
        return grouping(RECORDED[series].expr)
    metric = metric_of(series)
    if metric is None:
        return None
    added = SCRAPE if metric.name in OF_DRIVERS else WORKER
    return added | set(metric.labels) | ({"le"} if series.endswith("_bucket") else set())


def complaints(expression: str) -> list[str]:
    """What an expression asks for that nobody exposes.

    Raises:
        ValueError: the expression is no PromQL.
    """
    found = []
    having: set[str] = set()
    for selection in selections(expression):
        labels = labels_of(selection.series)
        if labels is None:
            found.append(f"{selection.series}: no such series")
            continue
        having |= labels
        if not selection.labels <= labels:
            found.append(f"{selection.series}: no label {sorted(selection.labels - labels)}")
    # label_replace makes the stage of a code.
    made = {"stage"} if "label_replace" in functions(expression) else set()
    missing = grouping(expression) - having - made
    if missing and not found:
        found.append(f"no series has the label {sorted(missing)}")
    return found
