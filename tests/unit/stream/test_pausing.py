"""Partitions are paused and resumed once, and a pause that lasts is told with its reason."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.records import Partition
from workers.stream.pausing import TOLD_EVERY_S, Pausing

ONE, TWO = Partition("refs", 1), Partition("refs", 2)


class NotingStream:
    """As much of a stream as pausing uses."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, frozenset[Partition]]] = []

    def pause(self, partitions: Iterable[Partition]) -> None:
        self.calls.append(("pause", frozenset(partitions)))

    def resume(self, partitions: Iterable[Partition]) -> None:
        self.calls.append(("resume", frozenset(partitions)))


class Bench:
    def __init__(self) -> None:
        self.clock = HandClock(0.0)
        self.stream = NotingStream()
        self.pausing = Pausing(self.stream, self.clock)  # type: ignore[arg-type]

    def hold(self, seconds: float = 0.0, **reasons: str) -> None:
        """Once, and again after some seconds."""
        by_partition = {Partition("refs", int(name[1:])): why for name, why in reasons.items()}
        self.pausing.hold((ONE, TWO), by_partition)
        self.clock.now += seconds
        self.pausing.hold((ONE, TWO), by_partition)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_stream_is_told_of_changes_only(bench: Bench) -> None:
    bench.hold(_1="full")
    bench.hold(_1="full")
    assert bench.stream.calls == [("pause", frozenset({ONE})), ("resume", frozenset({TWO}))]
    bench.hold()
    assert bench.stream.calls[2:] == [("pause", frozenset()), ("resume", frozenset({ONE, TWO}))]


def test_after_a_change_of_assignment_everything_is_said_again(bench: Bench) -> None:
    bench.hold(_1="full")
    bench.pausing.forget()
    bench.hold(_1="full")
    assert len(bench.stream.calls) == 4


def test_a_pause_that_lasts_is_told_once_a_minute_with_its_reason(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "workers.stream.pausing"):
        bench.hold(TOLD_EVERY_S - 1, _1="the store is down", _2="the store is down")
        assert not caplog.messages
        bench.hold(1, _1="the store is down", _2="the store is down")
        assert caplog.messages == ["refs[1], refs[2]: paused for up to 60 s: the store is down"]
        bench.hold(TOLD_EVERY_S / 2, _1="the store is down", _2="the store is down")
        assert len(caplog.messages) == 1
        bench.hold(TOLD_EVERY_S / 2, _1="the store is down", _2="full")
    assert caplog.messages[1:] == [
        "refs[1]: paused for up to 120 s: the store is down",
        "refs[2]: paused for up to 120 s: full",
    ]


def test_pauses_that_come_and_go_are_not_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "workers.stream.pausing"):
        for _ in range(100):
            bench.hold(1.0, _1="full")
            bench.hold(1.0)
    assert not caplog.messages
