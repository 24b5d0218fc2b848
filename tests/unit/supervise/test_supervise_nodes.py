"""Nodes that go away, announced or not, on a simulated clock."""

from __future__ import annotations

import logging

import pytest

from tests.rigs.workers.supervisor import Stage, Worker
from workers.supervise.node import Node
from workers.supervise.slot import NOTICE_MARGIN_S, Ended, Fate
from workers.supervise.supervisor import TICK_S, ExitCode

A, B = Node("a" * 56, "host-a"), Node("b" * 56, "host-b")
DIED = Ended(Fate.DIED, "worker.died", "its node has died")


def announce(stage: Stage, node: Node, goes_in_s: float) -> None:
    """The cluster says of a node that it goes away. Whoever is started from now on is elsewhere."""
    for _, _, worker in stage.started:
        if worker.place == node:
            worker.goes_at = stage.clock.now + goes_in_s


def on_two_nodes(stage: Stage) -> None:
    """The second worker alone is on the second node; whoever is started later is on the first."""

    def prepare(worker: Worker) -> None:
        worker.place = B if len(stage.started) == 1 else A

    stage.prepare = prepare


@pytest.mark.parametrize(
    ("goes_in_s", "grace_s", "given_s"),
    [
        (30.0, 120.0, 30.0 - NOTICE_MARGIN_S),
        (30.0, 10.0, 10.0),
        (3.0, 120.0, 0.0),
        # The cluster did not say when.
        (float("inf"), 120.0, 120.0),
    ],
)
def test_a_worker_whose_node_goes_away_drains_in_time_and_starts_elsewhere_at_once(
    goes_in_s: float, grace_s: float, given_s: float
) -> None:
    stage = Stage(grace_s=grace_s, max_crashes=1)
    on_two_nodes(stage)
    stage.at = [
        (10, lambda: announce(stage, B, goes_in_s)),
        (60, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert stage.worker(1).stops == [pytest.approx(given_s, abs=2 * TICK_S)]
    assert [slot for _, slot, _ in stage.started] == [0, 1, 1]
    assert stage.started[2][0] - 10 < 1.0, "nobody waits for a backoff"
    assert stage.worker(0).stops == [grace_s], "the other one goes on until the end"
    assert not stage.dismissed, "its successor takes the member over"


def test_a_worker_that_did_not_finish_before_its_node_went_has_not_crashed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(max_crashes=1)
    on_two_nodes(stage)

    def lose_node() -> None:
        stage.worker(1).end = DIED

    def unfinished() -> None:
        stage.worker(1).last = None
        announce(stage, B, 30)

    stage.at = [(10, unfinished), (40, lose_node), (60, stage.supervisor.request_stop)]
    with caplog.at_level(logging.WARNING):
        assert stage.run() is ExitCode.OK
    assert stage.started[2][0] - 40 < 1.0
    assert "worker 1 leaves node host-b (bbbbbbbb), which is being drained" in caplog.text
    assert "what it has not committed will be read again" in caplog.text


def test_a_worker_that_is_still_being_built_on_such_a_node_starts_elsewhere() -> None:
    stage = Stage(count=1)
    stage.prepare = lambda worker: setattr(worker, "answer", None)
    stage.at = [(10, lambda: announce(stage, A, 30)), (20, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 2
    assert stage.started[1][0] - 10 < 1.0


def test_a_worker_that_has_not_begun_there_is_gone_at_once() -> None:
    stage = Stage(count=1)

    def prepare(worker: Worker) -> None:
        # It is placed on a node that is going already.
        if not stage.started:
            worker.goes_at = stage.clock.now + 30

    stage.prepare = prepare
    stage.at = [(10, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 2


def test_a_node_that_goes_away_while_the_driver_stops_shortens_the_grace() -> None:
    stage = Stage(count=1, grace_s=60)
    stage.prepare = lambda worker: setattr(worker, "last", None)

    def finish() -> None:
        stage.worker(0).end = Ended(Fate.STOPPED)

    stage.at = [
        (10, stage.supervisor.request_stop),
        (20, lambda: announce(stage, A, 30)),
        (30, finish),
    ]
    assert stage.run() is ExitCode.OK
    assert stage.worker(0).stops == [60.0, pytest.approx(25.0, abs=2 * TICK_S)]
    assert len(stage.started) == 1


def test_a_halt_of_the_stream_stops_the_driver_on_a_node_that_goes_away_too() -> None:
    stage = Stage()
    on_two_nodes(stage)

    def fenced() -> None:
        stage.worker(1).last = Ended(Fate.HALTED, "kafka.fenced", "somebody else")
        announce(stage, B, 30)

    stage.at = [(10, fenced)]
    assert stage.run() is ExitCode.HALTED


def test_the_workers_of_a_lost_node_are_one_crash() -> None:
    stage = Stage(count=9, max_crashes=2)

    def prepare(worker: Worker) -> None:
        worker.place = A if worker.slot == 0 or len(stage.started) >= 9 else B

    def lose_node(node: Node) -> None:
        for _, _, worker in stage.started:
            if worker.place == node and worker.end is None:
                worker.end = DIED

    stage.prepare = prepare
    stage.at = [(10, lambda: lose_node(B)), (60, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 9 + 8

    again = Stage(count=9, max_crashes=2)
    again.at = [(10, lambda: again_lose(0, 5)), (30, lambda: again_lose(5, 9))]

    def again_lose(first: int, last: int) -> None:
        for slot in range(first, last):
            again.worker(slot).end = DIED

    assert again.run() is ExitCode.CRASH_LOOP, "a second time is a second crash"


def test_the_log_names_the_node_of_a_worker_that_stops_the_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    on_two_nodes(stage)
    fenced = Ended(Fate.HALTED, "kafka.fenced", "somebody else")
    stage.at = [(5, lambda: setattr(stage.worker(1), "end", fenced))]
    assert stage.run() is ExitCode.HALTED
    assert "worker 1 halted: kafka.fenced: somebody else (on node host-b (bbbbbbbb))" in caplog.text


def test_a_notice_that_comes_during_a_stop_does_not_count_from_the_stop() -> None:
    stage = Stage(count=1)
    stage.prepare = lambda worker: setattr(worker, "last", None)
    stage.at = [
        (10, stage.supervisor.request_stop),
        (35, lambda: setattr(stage.worker(0), "goes_at", stage.clock.now + 6)),
        (38, lambda: setattr(stage.worker(0), "end", Ended(Fate.STOPPED))),
    ]
    assert stage.run() is ExitCode.OK
    assert not stage.worker(0).killed
