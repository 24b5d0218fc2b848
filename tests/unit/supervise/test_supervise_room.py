"""Workers that Ray has no room for, or that are still being built, on a simulated clock: stops are
immediate, jobs end, and the wait is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.rigs.workers.supervisor import Stage, Worker, health
from workers.supervise.idle import ASK_S
from workers.supervise.slot import BUILDING_KILL_S, FRESH_S, KILL_MARGIN_S, Ended, Fate
from workers.supervise.standing import Standing, State
from workers.supervise.supervisor import ExitCode

IDLE = health(idle_s=99.0)


def of_slot(stage: Stage, slot: int, **attributes: object) -> None:
    """Prepare the workers of a slot."""

    def prepare(worker: Worker) -> None:
        if worker.slot == slot:
            for name, value in attributes.items():
                setattr(worker, name, value)

    stage.prepare = prepare


def the_others_idle(stage: Stage) -> None:
    prepare = stage.prepare

    def idle(worker: Worker) -> None:
        worker.answer = IDLE
        prepare(worker)

    stage.prepare = idle


# -- stops ---------------------------------------------------------------------------------------


def test_a_stop_of_a_worker_that_waits_for_room_is_immediate_and_clean() -> None:
    stage = Stage(grace_s=30)
    of_slot(stage, 1, place=None)
    stage.at = [(5, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert stage.elapsed < 7
    assert stage.worker(1).killed
    assert stage.worker(0).stops == [30.0]


def test_a_stop_of_a_worker_that_is_being_built_waits_for_nothing_and_is_clean() -> None:
    """It ends by itself at once; one that is held up in a library is killed, and lost nothing."""
    stage = Stage(grace_s=30)
    of_slot(stage, 1, answer=None, last=None)
    stage.at = [(5, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert stage.elapsed < 5 + BUILDING_KILL_S + 1
    assert stage.worker(1).killed


def test_a_worker_that_was_built_in_the_moment_of_the_stop_has_its_grace() -> None:
    stage = Stage(count=1, grace_s=30)
    of_slot(stage, 0, answer=None, last=None)
    stage.at = [
        (5, stage.supervisor.request_stop),
        (6, lambda: setattr(stage.worker(0), "answer", health())),
        (5 + BUILDING_KILL_S + 10, lambda: setattr(stage.worker(0), "end", Ended(Fate.STOPPED))),
    ]
    assert stage.run() is ExitCode.OK
    assert not stage.worker(0).killed


def test_a_worker_that_does_not_finish_makes_the_stop_unclean_and_others_do_not() -> None:
    stage = Stage(count=3, grace_s=10)
    of_slot(stage, 2, place=None)
    stage.at = [
        (1, lambda: setattr(stage.worker(0), "last", None)),
        (2, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.UNCLEAN_STOP
    assert stage.elapsed < 2 + 10 + KILL_MARGIN_S + 1
    assert [worker.killed for _, _, worker in stage.started] == [True, False, True]


# -- waiting -------------------------------------------------------------------------------------


def test_a_wait_for_room_is_no_crash_and_has_no_end() -> None:
    stage = Stage(start_timeout_s=50, max_crashes=1)
    of_slot(stage, 1, place=None)
    standings: list[Standing] = []
    stage.at = [
        (3000, lambda: standings.append(stage.supervisor.standing)),
        (3001, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 2, "it keeps its place in Ray's queue"
    assert standings[0].ready
    assert standings[0].states == {State.READY: 1, State.WAITING: 1}
    assert "place 1 has waited for 3000 s: Ray has no room for 1 CPU" in standings[0].lines


def test_a_wait_for_room_is_told_and_once_a_minute_at_most(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    of_slot(stage, 1, place=None)
    stage.at = [(600, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert 9 <= len(lines) <= 10
    assert all("Ray has no room for 1 CPU" in line for line in lines)


def test_a_worker_whose_process_comes_soon_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    of_slot(stage, 1, place=None)
    stage.at = [
        (8, lambda: setattr(stage.worker(1), "place", stage.worker(0).place)),
        (60, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    assert stage.worker(1).begun
    assert "no room" not in caplog.text


def test_the_time_to_start_counts_from_the_process_on() -> None:
    stage = Stage(start_timeout_s=100)
    of_slot(stage, 1, place=None, answer=None)
    stage.at = [
        (300, lambda: setattr(stage.worker(1), "place", stage.worker(0).place)),
        (390, lambda: killed.append(stage.worker(1).killed)),
        (402, lambda: killed.append(stage.worker(1).killed)),
        (403, stage.supervisor.request_stop),
    ]
    killed: list[bool] = []
    assert stage.run() is ExitCode.OK
    assert killed == [False, True]


def test_an_actor_that_cannot_be_made_has_died() -> None:
    stage = Stage(count=1, max_crashes=3)
    ended = Ended(Fate.DIED, "worker.died", "its constructor failed")

    def prepare(worker: Worker) -> None:
        worker.place = None
        worker.ended = lambda: ended  # type: ignore[method-assign]

    stage.prepare = prepare
    assert stage.run() is ExitCode.CRASH_LOOP


# -- jobs ----------------------------------------------------------------------------------------


def halts(worker: Worker) -> None:
    worker.end = Ended(Fate.HALTED, "s3.no_credentials", "no credentials")


@pytest.mark.parametrize(
    "attributes",
    [
        {"place": None},
        {"answer": None},
        {"end": Ended(Fate.HALTED, "s3.no_credentials", "no credentials")},
        {"end": Ended(Fate.UNAVAILABLE, "kafka.unavailable", "no broker")},
    ],
)
def test_a_worker_that_does_not_run_does_not_keep_a_job_from_its_end(
    attributes: dict[str, object],
) -> None:
    stage = Stage()
    of_slot(stage, 1, **attributes)
    the_others_idle(stage)
    assert stage.run(until_idle_s=3.0, give_up_after_s=60) is ExitCode.OK


def test_a_job_does_not_end_while_the_group_is_behind_anywhere() -> None:
    """The partitions of a place that is empty are nobody's for a while."""
    stage = Stage()
    of_slot(stage, 1, place=None)
    the_others_idle(stage)
    stage.group_lag = 7
    stage.at = [(100, lambda: setattr(stage, "group_lag", 0))]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert 100 <= stage.elapsed < 100 + ASK_S + 2
    assert len(stage.lag_questions) < 100 / ASK_S + 2, "the broker is asked now and then"


def test_a_job_does_not_end_while_nobody_knows_the_groups_lag() -> None:
    stage = Stage(count=1)
    the_others_idle(stage)
    stage.group_lag = None
    stage.at = [(100, lambda: setattr(stage, "group_lag", 0))]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert stage.elapsed >= 100


def test_an_answer_that_was_overtaken_by_work_ends_no_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(count=1)
    the_others_idle(stage)
    answers: list[Future[int | None]] = []

    def ask() -> Future[int | None]:
        answers.append(Future())
        return answers[-1]

    monkeypatch.setattr(stage.supervisor, "_group_lag", ask)

    def answer(**changes: object) -> Callable[[], None]:
        return lambda: setattr(stage.worker(0), "answer", health(**changes))

    stage.at = [
        (20, answer(idle_s=0.0)),
        (21, answer(idle_s=99.0)),
        (22, lambda: answers[0].set_result(0)),
        (40, lambda: answers[1].set_result(0)),
    ]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert 40 <= stage.elapsed < 42
    assert len(answers) == 2


def test_a_job_that_nobody_works_on_does_not_end_well() -> None:
    stage = Stage(start_timeout_s=100)
    stage.prepare = halts
    assert stage.run(until_idle_s=3.0) is ExitCode.HALTED


def test_a_silent_worker_keeps_a_job_from_its_end() -> None:
    stage = Stage()
    the_others_idle(stage)
    stage.group_lag = 1
    stage.at = [
        (1, lambda: setattr(stage.worker(1), "frozen", True)),
        (FRESH_S + 5, lambda: setattr(stage, "group_lag", 0)),
        (60, lambda: setattr(stage.worker(1), "frozen", False)),
    ]
    assert stage.run(until_idle_s=3.0) is ExitCode.OK
    assert stage.elapsed >= 60
