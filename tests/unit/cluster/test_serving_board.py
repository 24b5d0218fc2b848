"""Replicas and the driver hear of each other on the board; what the console shows of them."""

from __future__ import annotations

from pipeline.adapters.memory.clock import HandClock
from workers.cluster.serving.board import FORGOTTEN_S, SILENT_S, Board, Report, State
from workers.cluster.serving.view import row_of


def report(name: str, state: State = State.READY, node: str = "here", **more: object) -> Report:
    return Report(name, node, state, **more)  # type: ignore[arg-type]


class Scene:
    """A board on a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.board = Board(self.clock.monotonic)

    def heard(self) -> dict[str, bool]:
        """Whether each replica is ready, as the driver hears."""
        return {each.report.id: each.ready for each in self.board.look(draining=False)}


def test_replicas_of_a_host_get_the_lowest_numbers_that_are_free() -> None:
    scene = Scene()
    board = scene.board
    assert [board.join(report(name)) for name in "abc"] == [0, 1, 2]
    assert board.join(report("d", node="there")) == 0
    board.report(report("b", State.ENDED), 1)
    assert board.join(report("e")) == 1


def test_the_number_of_a_replica_that_died_is_free_once_it_is_silent() -> None:
    scene = Scene()
    assert scene.board.join(report("a")) == 0
    scene.clock.now += SILENT_S
    assert scene.board.join(report("b")) == 0


def test_what_the_driver_says_reaches_each_replica_with_its_next_report() -> None:
    board = Scene().board
    slots = {name: board.join(report(name)) for name in "ab"}
    assert not any(board.report(report(name), slot) for name, slot in slots.items())
    board.look(draining=True)
    assert all(board.report(report(name), slot) for name, slot in slots.items())


def test_a_replica_is_ready_while_it_says_so() -> None:
    scene = Scene()
    scene.board.join(report("a", State.STARTING))
    assert scene.heard() == {"a": False}
    scene.board.report(report("a"), 0)
    assert scene.heard() == {"a": True}
    scene.clock.now += SILENT_S
    assert scene.heard() == {"a": False}
    scene.clock.now += FORGOTTEN_S
    scene.heard()
    assert scene.heard() == {}


def test_a_board_that_was_started_again_learns_its_replicas_from_their_reports() -> None:
    board = Scene().board
    assert not board.report(report("a"), 3)
    (heard,) = board.look(draining=False)
    assert (heard.ready, heard.slot) == (True, 3)


def test_the_console_sees_living_replicas_with_what_they_said_of_themselves() -> None:
    scene = Scene()
    scene.board.join(report("a", State.ENDED))
    scene.board.join(report("b", row={"id": "b-of-its-own", "queue": 7, "device": "cuda"}))
    halted = report("c", State.HALTED, code="model.not_found", message="model: none")
    scene.board.join(halted)
    rows = [row_of(each) for each in scene.board.reports()]
    assert [(row["id"], row["queue"], row["device"]) for row in rows] == [
        ("b", 7, "cuda"),
        ("c", 0, ""),
    ]
    assert rows[1]["why"] == "model.not_found: model: none"
