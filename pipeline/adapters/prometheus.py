"""The meter over prometheus_client: the catalogue registered in a registry of its own."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from pipeline.metrics import CATALOGUE, Kind, Metric


class PrometheusMeter:
    """Implements ``pipeline.ports.Meter``. Metrics without labels are exposed from the start, so
    that a rate over them is never missing."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._metrics = {metric: _register(metric, self.registry) for metric in CATALOGUE}
        # Looking a child up costs a lock and a tuple each time; the hot path has few of them.
        self._children: dict[tuple[Metric, tuple[str, ...]], Any] = {}

    def add(self, metric: Metric, value: float = 1, /, **labels: str) -> None:
        self._child(metric, labels).inc(value)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._child(metric, labels).observe(value)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._child(metric, labels).set(value)

    def forget(self, metric: Metric, /, **labels: str) -> None:
        values = tuple(labels[name] for name in metric.labels)
        if self._children.pop((metric, values), None) is not None:
            self._metrics[metric].remove(*values)

    def _child(self, metric: Metric, labels: dict[str, str]) -> Any:
        values = tuple(labels[name] for name in metric.labels)
        child = self._children.get((metric, values))
        if child is None:
            registered = self._metrics[metric]
            child = registered.labels(*values) if metric.labels else registered
            self._children[metric, values] = child
        return child


def _register(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    # The client appends _total itself.
    name = metric.name.removesuffix("_total")
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(
            name, metric.help, metric.labels, registry=registry, buckets=metric.buckets
        )
    kind = Counter if metric.kind is Kind.COUNTER else Gauge
    return kind(name, metric.help, metric.labels, registry=registry)
