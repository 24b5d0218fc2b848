"""What every meter promises, the one in memory and the one that Prometheus reads alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.metrics import (
    ASSIGNED,
    BATCH_SIZE,
    COMMITS,
    DRIVER_WORKERS,
    LAG,
    LATENCY_SECONDS,
    SKIPPED,
    STAGE_SECONDS,
    STREAM_WORKER,
    Metric,
)
from pipeline.ports import Meter

THREADS, TIMES = 8, 500


@dataclass
class Subject:
    """A meter, and what it exposes."""

    meter: Meter
    value: Callable[..., float | None]
    """Of a counter or a gauge; None where it is not exposed."""
    observed: Callable[..., tuple[float, float]]
    """How many observations a histogram has, and their sum."""


def in_memory() -> Subject:
    meter = MemoryMeter(STREAM_WORKER)

    def observed(metric: Metric, **labels: str) -> tuple[float, float]:
        values = meter.values(metric, **labels)
        return len(values), sum(values)

    return Subject(meter, meter.value, observed)


def for_prometheus() -> Subject:
    meter = PrometheusMeter(STREAM_WORKER)
    read = meter.registry.get_sample_value

    def observed(metric: Metric, **labels: str) -> tuple[float, float]:
        return read(f"{metric.name}_count", labels) or 0, read(f"{metric.name}_sum", labels) or 0

    return Subject(meter, lambda metric, **labels: read(metric.name, labels), observed)


@pytest.fixture(params=[in_memory, for_prometheus], ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest) -> Subject:
    made: Subject = request.param()
    return made


def test_counters_add_up_by_their_labels(subject: Subject) -> None:
    subject.meter.add(SKIPPED, reason="folder")
    subject.meter.add(SKIPPED, 2, reason="folder")
    subject.meter.add(SKIPPED, reason="deleted")
    assert subject.value(SKIPPED, reason="folder") == 3
    assert subject.value(SKIPPED, reason="deleted") == 1
    assert subject.value(SKIPPED, reason="other") is None


def test_a_gauge_is_what_it_was_set_to_last(subject: Subject) -> None:
    for number in (3, 1, 2):
        subject.meter.set(ASSIGNED, number)
    assert subject.value(ASSIGNED) == 2


def test_what_has_no_labels_is_exposed_from_the_start(subject: Subject) -> None:
    assert (subject.value(ASSIGNED), subject.value(COMMITS)) == (0, 0)
    assert subject.value(LAG, topic="t", partition="0") is None


def test_observations_are_counted_and_summed(subject: Subject) -> None:
    subject.meter.observe(STAGE_SECONDS, 0.5, stage="fetch")
    subject.meter.observe(STAGE_SECONDS, 2.0, stage="fetch")
    subject.meter.observe(BATCH_SIZE, 32)
    assert subject.observed(STAGE_SECONDS, stage="fetch") == (2, 2.5)
    assert subject.observed(STAGE_SECONDS, stage="decode") == (0, 0)
    assert subject.observed(BATCH_SIZE) == (1, 32)
    assert subject.observed(LATENCY_SECONDS) == (0, 0)


def test_a_gauge_that_is_forgotten_is_exposed_no_more_and_may_come_back(subject: Subject) -> None:
    subject.meter.forget(LAG, topic="t", partition="0")
    subject.meter.set(LAG, 5, topic="t", partition="0")
    subject.meter.set(LAG, 6, topic="t", partition="1")
    subject.meter.forget(LAG, topic="t", partition="0")
    assert subject.value(LAG, topic="t", partition="0") is None
    assert subject.value(LAG, topic="t", partition="1") == 6
    subject.meter.set(LAG, 7, topic="t", partition="0")
    assert subject.value(LAG, topic="t", partition="0") == 7


def test_the_order_in_which_labels_are_named_says_nothing(subject: Subject) -> None:
    subject.meter.set(LAG, 5, topic="0", partition="1")
    subject.meter.set(LAG, 6, partition="1", topic="0")
    subject.meter.set(LAG, 7, partition="0", topic="1")
    assert subject.value(LAG, topic="0", partition="1") == 6
    assert subject.value(LAG, topic="1", partition="0") == 7
    subject.meter.forget(LAG, partition="1", topic="0")
    assert subject.value(LAG, topic="0", partition="1") is None
    assert subject.value(LAG, topic="1", partition="0") == 7


def test_what_is_not_registered_is_refused(subject: Subject) -> None:
    meter = subject.meter
    for touch in (
        partial(meter.set, DRIVER_WORKERS, 1),
        partial(meter.forget, DRIVER_WORKERS),
        partial(meter.add, DRIVER_WORKERS),
        partial(meter.observe, DRIVER_WORKERS, 1),
    ):
        with pytest.raises(KeyError):
            touch(state="ready")


@pytest.mark.parametrize("labels", [{}, {"code": "x"}, {"reason": "x", "code": "y"}])
def test_labels_of_another_metric_are_refused(subject: Subject, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        subject.meter.add(SKIPPED, **labels)


def test_threads_lose_nothing_of_a_counter(subject: Subject) -> None:
    def count() -> None:
        for _ in range(TIMES):
            subject.meter.add(COMMITS)
            subject.meter.observe(BATCH_SIZE, 1)

    threads = [threading.Thread(target=count) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert subject.value(COMMITS) == THREADS * TIMES
    assert subject.observed(BATCH_SIZE) == (THREADS * TIMES, THREADS * TIMES)
