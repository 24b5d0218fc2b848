"""Logs that a worker cannot keep up with the records that arrive, which stage is full, and what to
do."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.metrics import IN_FLIGHT, LAG, QUEUE_DEPTH, Metric
from pipeline.ports import Clock, Meter
from pipeline.records import Partition
from workers.stream.intake import Supply

log = logging.getLogger(__name__)

SPAN_S = 30.0
"""A worker is overloaded if its lag was greater all through one span than at any time of the span
before. Lag that only varies or shrinks is no overload."""

ENCODE_SHARE = 0.25
"""Share of the images in flight that wait for the model when the model is the bottleneck."""
FEW_IMAGES = 8
"""Fewer images wait before a stage that keeps up. Fetched objects are bounded, so many more may
wait for their fetch when the decoders are full. The bottleneck is therefore the last stage with a
queue."""

ADVICE = {
    "encode": "images wait for the model; give the worker more CPUs or a GPU",
    "decode": "images wait for the decoders; raise decode.processes if CPUs are idle",
    "fetch": "images wait for the store; raise fetch.max_open_objects if the store and the network "
    "can deliver more",
    "commit": "outcomes wait for their commit; look at the brokers and at "
    "clipstream_commit_failures_total",
}


@dataclass(slots=True)
class _Span:
    """The observations of ``SPAN_S``."""

    began_at: float
    least: float = float("inf")
    most: float = 0.0
    looks: int = 0
    waiting: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, lag: float, waiting: dict[str, float]) -> None:
        self.least, self.most = min(self.least, lag), max(self.most, lag)
        self.looks += 1
        for where, images in waiting.items():
            self.waiting[where] += images

    def average(self, name: str) -> float:
        return self.waiting[name] / max(1, self.looks)

    def full(self) -> str:
        """The stage that is the bottleneck."""
        if self.average("encode") >= max(FEW_IMAGES, ENCODE_SHARE * self.average("in flight")):
            return "encode"
        return next((s for s in ("decode", "fetch") if self.average(s) >= FEW_IMAGES), "commit")


class OverloadWatch:
    """A worker's meter. It passes everything on, and watches the values as an operator would.

    It logs an overload once. It logs the next one only after the worker has caught up, so that no
    record waits outside the worker. Lag that an outage of a store makes is no overload.
    """

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._supply: Supply | None = None
        self._lag: dict[Partition, float] = {}
        self._going_on: frozenset[Partition] = frozenset()
        self._depths: dict[str, float] = {}
        self._told = False
        self._before: _Span | None = None
        self._span = _Span(clock.monotonic())

    def follow(self, supply: Supply) -> None:
        """Ask ``supply`` from now on which partitions an outage holds up."""
        self._supply = supply

    def add(self, metric: Metric, value: float = 1, /, **labels: str) -> None:
        self._meter.add(metric, value, **labels)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._meter.observe(metric, value, **labels)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        self._meter.set(metric, value, **labels)
        if metric is QUEUE_DEPTH:
            self._depths[labels["stage"]] = value
        elif metric is LAG:
            self._lag[_partition(labels)] = value
        elif metric is IN_FLIGHT:
            self._look(value)

    def forget(self, metric: Metric, /, **labels: str) -> None:
        self._meter.forget(metric, **labels)
        if metric is LAG:
            self._lag.pop(_partition(labels), None)

    # -- the Kafka thread -------------------------------------------------------------------

    def _begin(self) -> None:
        self._before, self._span = None, _Span(self._clock.monotonic())

    def _look(self, in_flight: float) -> None:
        """Called with each update of the worker's gauges."""
        if sum(self._lag.values()) <= in_flight:
            self._told = False
        # An outage, which is logged elsewhere, holds up the partitions that wait for the store. All
        # other partitions can be overloaded meanwhile.
        waiting = self._supply.held_up if self._supply else frozenset()
        going_on = frozenset(self._lag.keys() - waiting)
        if going_on != self._going_on:
            self._going_on = going_on
            self._begin()  # the records of a partition that has joined are not new
        lag = sum(self._lag[each] for each in going_on)
        stands_still = self._supply is not None and not self._supply.available
        if lag <= in_flight or stands_still:
            self._begin()
            return
        self._span.add(lag, {"in flight": in_flight, **self._depths})
        now = self._clock.monotonic()
        if now - self._span.began_at < SPAN_S:
            return
        before, last = self._before, self._span
        self._before, self._span = last, _Span(now)
        if before is not None and last.least > before.most and not self._told:
            self._told = True
            log.warning(
                "overloaded: %d records behind, and more all the time; %s, or add workers "
                "(workers.count, workers.max_count), at most one for each partition",
                lag,
                ADVICE[last.full()],
            )


def _partition(labels: Mapping[str, str]) -> Partition:
    return Partition(labels["topic"], int(labels["partition"]))
