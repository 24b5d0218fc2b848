"""A worker that cannot keep up says so once, and what is full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.metrics import (
    IN_FLIGHT,
    LAG,
    QUEUE_DEPTH,
    SKIPPED,
    STAGE_SECONDS,
    STREAM_WORKER,
)
from pipeline.records import Partition
from tests.rigs.workers.plenty import Plenty
from workers.stream.gauges import INTERVAL_S
from workers.stream.overload import SPAN_S, OverloadWatch

HELD = 1024
LONG_S = 10 * SPAN_S


class Worker:
    """What a worker tells its meter."""

    def __init__(self) -> None:
        self.behind = MemoryMeter(STREAM_WORKER)
        self.clock = HandClock()
        self.supply = Plenty()
        self.meter = OverloadWatch(self.behind, self.clock)
        self.meter.follow(self.supply)

    def runs(
        self,
        seconds: float,
        lag: Callable[[float], float],
        depths: dict[str, float] | None = None,
        partition: str = "0",
    ) -> None:
        """Its gauges are updated as in life; ``lag`` in records by the seconds since now."""
        began = self.clock.now
        while self.clock.now - began < seconds:
            self.clock.now += INTERVAL_S
            for stage, depth in (depths or {}).items():
                self.meter.set(QUEUE_DEPTH, depth, stage=stage)
            self.meter.set(IN_FLIGHT, HELD)
            self.meter.set(LAG, lag(self.clock.now - began), topic="t", partition=partition)


@pytest.fixture
def worker(caplog: pytest.LogCaptureFixture) -> Worker:
    return Worker()


def growing(seconds: float) -> float:
    return 5000 + 10 * seconds


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("depths", "named"),
    [
        ({"fetch": 0, "decode": 3, "encode": 900}, "wait for the model"),
        # The forming batch is no queue, and what waits for its fetch waits for the decoders.
        ({"fetch": 900, "decode": 62, "encode": 16}, "raise decode.processes"),
        ({"fetch": 900, "decode": 0, "encode": 2}, "raise fetch.max_open_objects"),
        ({"fetch": 0, "decode": 0, "encode": 0}, "look at the brokers"),
    ],
)
def test_lag_that_grows_is_told_once_with_what_is_full_and_what_to_do(
    worker: Worker, caplog: pytest.LogCaptureFixture, depths: dict[str, float], named: str
) -> None:
    worker.runs(LONG_S, growing, depths)
    (message,) = told(caplog)
    assert message.startswith("overloaded: ")
    assert named in message
    assert "add workers" in message


@pytest.mark.parametrize(
    "lag",
    [
        lambda _: 0.0,
        lambda _: 5000.0,
        lambda seconds: 50_000 - 10 * seconds,
        lambda seconds: 5000 + 4000 * (int(seconds) % 20 < 10),
        lambda seconds: min(HELD, seconds),
    ],
    ids=["none", "steady", "a backlog that shrinks", "bursts", "only what is held"],
)
def test_a_worker_that_keeps_up_says_nothing(
    worker: Worker, caplog: pytest.LogCaptureFixture, lag: Callable[[float], float]
) -> None:
    worker.runs(LONG_S, lag)
    assert told(caplog) == []


def test_an_overload_is_told_again_after_the_worker_has_caught_up(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.runs(LONG_S, growing)
    worker.runs(LONG_S, lambda seconds: 50_000 - 10 * seconds)
    worker.runs(LONG_S, growing)
    assert len(told(caplog)) == 1
    worker.runs(1, lambda _: 0)
    worker.runs(LONG_S, growing)
    assert len(told(caplog)) == 2


def test_an_outage_of_the_store_is_no_overload(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.supply.available = False
    worker.runs(LONG_S, growing)
    assert told(caplog) == []
    worker.supply.available = True
    worker.runs(LONG_S, growing)
    assert len(told(caplog)) == 1


def test_partitions_that_wait_for_one_of_several_stores_are_no_overload(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.runs(SPAN_S, lambda _: 0.0, partition="1")
    worker.supply.held_up = frozenset({Partition("t", 0)})
    worker.runs(LONG_S, growing)
    assert told(caplog) == []
    worker.supply.held_up = frozenset()
    worker.runs(LONG_S, lambda seconds: 50_000 - 10 * seconds)
    assert told(caplog) == [], "what has waited is not new"


def test_an_overload_of_the_other_partitions_is_told_while_one_of_several_stores_is_down(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.runs(SPAN_S, lambda _: 90_000.0, partition="1")
    worker.supply.held_up = frozenset({Partition("t", 1)})
    worker.runs(LONG_S, growing)
    (message,) = told(caplog)
    assert " 90" not in message, "only what the worker could work off is counted"


def test_partitions_that_come_and_go_are_no_overload(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        worker.runs(SPAN_S, lambda _: 5000.0, partition=str(number))
    assert told(caplog) == []
    for number in range(1, 10):
        worker.meter.forget(LAG, topic="t", partition=str(number))
    worker.runs(LONG_S, growing)
    assert len(told(caplog)) == 1


def test_every_measure_is_passed_on(worker: Worker) -> None:
    value = worker.behind.value
    worker.meter.set(IN_FLIGHT, 3)
    worker.meter.set(LAG, 5, topic="t", partition="1")
    worker.meter.observe(STAGE_SECONDS, 0.5, stage="fetch")
    worker.meter.add(SKIPPED, 2, reason="folder")
    assert value(SKIPPED, reason="folder") == 2
    assert value(IN_FLIGHT) == 3
    assert value(LAG, topic="t", partition="1") == 5
    assert worker.behind.values(STAGE_SECONDS, stage="fetch") == [0.5]
    worker.meter.forget(LAG, topic="t", partition="1")
    assert value(LAG, topic="t", partition="1") is None
