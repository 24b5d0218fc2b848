"""A meter that keeps its values in memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence

from pipeline.metrics import Kind, Metric

Series = tuple[Metric, frozenset[tuple[str, str]]]


class MemoryMeter:
    """Implements ``pipeline.ports.Meter`` for the metrics of a catalogue, and gives their values.

    Stricter than the real meter: a metric that is not in the catalogue raises ``KeyError``, wrong
    labels ``ValueError``, an operation of another kind of metric ``TypeError``.
    """

    def __init__(self, catalogue: Sequence[Metric]) -> None:
        self._catalogue = frozenset(catalogue)
        self._told: defaultdict[Series, list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, metric: Metric, value: float = 1, /, **labels: str) -> None:
        series = self._series(metric, labels, Kind.COUNTER)
        with self._lock:
            self._told[series] = [sum(self._told[series]) + value]

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._told[self._series(metric, labels, Kind.HISTOGRAM)].append(value)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._told[self._series(metric, labels, Kind.GAUGE)].append(value)

    def forget(self, metric: Metric, /, **labels: str) -> None:
        self._told.pop(self._series(metric, labels, Kind.COUNTER, Kind.GAUGE), None)

    def value(self, metric: Metric, /, **labels: str) -> float | None:
        """The sum of a counter, or a gauge's last value. None if it is not exposed."""
        told = self._told.get(self._series(metric, labels, Kind.COUNTER, Kind.GAUGE))
        if told:
            return told[-1]
        return None if metric.labels else 0.0

    def values(self, metric: Metric, /, **labels: str) -> list[float]:
        """The values that a histogram observed, or that a gauge was set to, in order."""
        return list(self._told.get(self._series(metric, labels, Kind.HISTOGRAM, Kind.GAUGE), ()))

    def labels(self, metric: Metric) -> list[dict[str, str]]:
        """The labels of each exposed series of a metric, oldest series first."""
        return [dict(labels) for of, labels in tuple(self._told) if of is metric]

    def _series(self, metric: Metric, labels: dict[str, str], *kinds: Kind) -> Series:
        if metric not in self._catalogue:
            raise KeyError(f"{metric.name} is not registered")
        if labels.keys() != set(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels} and not {labels}")
        if metric.kind not in kinds:
            raise TypeError(f"{metric.name} is a {metric.kind}")
        return metric, frozenset(labels.items())
