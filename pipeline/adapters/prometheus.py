"""The meter over prometheus_client: the catalogue registered in a registry of its own; and the text
that Prometheus reads, written, served and read back."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import Kind, Metric

Registry = CollectorRegistry
EXPOSITION_TYPE = CONTENT_TYPE_LATEST
"""Content type of an exposition."""


def exposition(registry: Registry) -> bytes:
    """The values of all metrics, in the text format that Prometheus reads."""
    return generate_latest(registry)


def serve(registry: Registry, host: str, port: int) -> tuple[WSGIServer, threading.Thread]:
    """Answer with the exposition over HTTP, in a thread; port 0 is a free one.

    Raises:
        OSError: the address cannot be listened on.
    """
    return start_http_server(port, host, registry)


def merged(expositions: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Several expositions as one. Each sample gets the labels of its exposition, and the lines HELP
    and TYPE of a metric stand once, before the samples of all.

    The expositions are trusted to be valid, because parsing those of a large fleet would hold up
    the driver. Their samples must not have the added labels already.
    """
    heads: dict[str, dict[str, str]] = {}
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for text, labels in expositions:
        added = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        family = ""
        # Not splitlines(), which would also part a line at the rarer ends that a label may hold.
        for line in filter(None, text.split("\n")):
            if line.startswith("#"):
                what, _, rest = line.removeprefix("# ").partition(" ")
                family = rest.partition(" ")[0]
                heads.setdefault(family, {}).setdefault(what, line)
            else:
                lines[family].append(_labelled(line, added))
    return "".join(
        f"{line}\n" for family, head in heads.items() for line in (*head.values(), *lines[family])
    )


def _labelled(sample: str, added: str) -> str:
    """A line of a sample, with more labels. Names contain neither braces nor spaces."""
    if not added:
        return sample
    name, has_labels, rest = sample.partition("{")
    if " " in name or not has_labels:
        name, _, value = sample.partition(" ")
        return f"{name}{{{added}}} {value}"
    return f"{name}{{{added}{'' if rest.startswith('}') else ','}{rest}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def samples(metrics: str | Registry) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each sample of an exposition, or of a registry of this process."""
    families = (
        text_string_to_metric_families(metrics) if isinstance(metrics, str) else metrics.collect()
    )
    for family in families:
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


class PrometheusMeter:
    """Implements ``pipeline.ports.Meter`` for a catalogue: the metrics that this process can
    change, and none of another kind of process. Metrics without labels are exposed from the start,
    so that their rates are never missing."""

    def __init__(self, catalogue: Sequence[Metric]) -> None:
        self.registry = CollectorRegistry()
        self._metrics = {metric: _register(metric, self.registry) for metric in catalogue}
        # The client's own look-up takes a lock each time, and every image needs a dozen look-ups.
        self._children: dict[tuple[Metric | str, ...], Any] = {}

    def add(self, metric: Metric, value: float = 1, /, **labels: str) -> None:
        self._child(metric, labels).inc(value)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._child(metric, labels).observe(value)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._child(metric, labels).set(value)

    def forget(self, metric: Metric, /, **labels: str) -> None:
        registered, key = self._metrics[metric], _key(metric, labels)
        if self._children.pop(key, None) is not None:
            registered.remove(*key[1:])

    def _child(self, metric: Metric, labels: dict[str, str]) -> Any:
        key = _key(metric, labels)
        child = self._children.get(key)
        if child is None:
            registered = self._metrics[metric]
            child = registered.labels(**labels) if metric.labels else registered
            self._children[key] = child
        return child


def _key(metric: Metric, labels: dict[str, str]) -> tuple[Metric | str, ...]:
    """The metric and the values of its labels, in the catalogue's order."""
    if len(labels) < 2:  # nearly all metrics, which have only one order
        return (metric, *labels.values())
    return (metric, *(labels[name] for name in metric.labels))


def _register(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    # The client appends _total itself.
    name = metric.name.removesuffix("_total")
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(
            name, metric.help, metric.labels, registry=registry, buckets=metric.buckets
        )
    kind = Counter if metric.kind is Kind.COUNTER else Gauge
    return kind(name, metric.help, metric.labels, registry=registry)
