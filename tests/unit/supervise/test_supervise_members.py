"""The member of a place that stays empty leaves the group in time, and no living worker's does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.retry import RetryPolicy
from tests.rigs.workers.supervisor import (
    DIED,
    NO_CREDENTIALS,
    NODES,
    Stage,
    each_of_slot,
    end,
    starts_of,
)
from workers.supervise import trouble
from workers.supervise.slot import VACANT_S, Ended, Fate
from workers.supervise.standing import State
from workers.supervise.supervisor import ExitCode
from workers.supervise.trouble import RETRIES


def test_the_member_of_a_place_that_stays_empty_leaves_the_group_in_time() -> None:
    stage = Stage()
    stage.at = [
        (99, lambda: each_of_slot(stage, 1, NO_CREDENTIALS)),
        (100, end(stage, 1, NO_CREDENTIALS)),
        (5000, stage.supervisor.request_stop),
    ]
    assert stage.run(give_up_after_s=6000) is ExitCode.OK
    assert len(starts_of(stage, 1)) > 5
    (removal,) = stage.dismissed
    assert (removal.slot, removal.for_good) == (1, False)
    halted_at = 100.0
    assert removal.at - halted_at <= VACANT_S + 0.5


def test_tries_that_fail_do_not_put_the_removal_of_the_member_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No wait alone is long."""
    monkeypatch.setattr(trouble, "RETRIES", RetryPolicy(first_wait_s=2.0, longest_wait_s=2.0))
    stage = Stage()
    stage.at = [
        (99, lambda: each_of_slot(stage, 1, NO_CREDENTIALS)),
        (100, end(stage, 1, NO_CREDENTIALS)),
        (200, stage.supervisor.request_stop),
    ]
    assert stage.run() is ExitCode.OK
    (removal,) = stage.dismissed
    assert removal.at - 100 <= VACANT_S + 0.5


def test_a_worker_that_is_back_at_once_keeps_its_membership() -> None:
    stage = Stage()
    stage.at = [(100, end(stage, 1, DIED)), (200, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert len(stage.started) == 3
    assert stage.dismissed == []


def test_the_member_of_a_worker_that_finds_no_room_again_leaves_the_group() -> None:
    stage = Stage()
    stage.removing_s = 40.0
    stage.at = [
        (99, lambda: setattr(stage, "prepare", lambda worker: setattr(worker, "place", None))),
        (100, end(stage, 1, DIED)),
        # Ray has room in the middle of the removal.
        (115, lambda: setattr(stage.worker(2), "place", NODES[0])),
        (140, lambda: begun.append(stage.worker(2).begun)),
        (150, lambda: begun.append(stage.worker(2).begun)),
        (200, stage.supervisor.request_stop),
    ]
    begun: list[bool] = []
    assert stage.run() is ExitCode.OK
    (removal,) = stage.dismissed
    assert VACANT_S <= removal.at - 100 <= VACANT_S + 0.5
    assert begun == [False, True], "it begins when the removal is over"
    assert stage.worker(2).stops, "and is the same worker"


def test_a_worker_that_never_joined_is_not_removed() -> None:
    stage = Stage()
    each_of_slot(stage, 1, NO_CREDENTIALS)
    stage.at = [(1000, stage.supervisor.request_stop)]
    assert stage.run() is ExitCode.OK
    assert stage.dismissed == []


EVENTS = st.sampled_from(["halt", "die", "no_room", "room", "unavailable", "silent", "answer"])


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.floats(0.2, 40), st.integers(0, 1), EVENTS), max_size=25),
    removing_s=st.floats(0, 30),
)
def test_whatever_happens_no_living_member_is_removed_and_all_places_fill_again(
    events: list[tuple[float, int, str]], removing_s: float
) -> None:
    """The rig asserts at every moment that no worker lives while its member is removed."""
    stage = Stage(start_timeout_s=100_000, max_crashes=1000, stall_timeout_s=60)
    stage.removing_s = removing_s
    room = True

    def apply(slot: int, event: str) -> None:
        nonlocal room
        room = {"no_room": False, "room": True}.get(event, room)
        for _, number, worker in stage.started:
            if worker.place is None and room:
                worker.place = NODES[0]
            if number == slot and worker.alive:
                worker.frozen = event == "silent" or (worker.frozen and event != "answer")
                ends = {
                    "halt": NO_CREDENTIALS,
                    "die": DIED,
                    "unavailable": Ended(Fate.UNAVAILABLE, "kafka.unavailable", "away"),
                }
                worker.end = ends.get(event)

    stage.prepare = lambda worker: setattr(worker, "place", NODES[0] if room else None)
    at = 1.0
    for wait_s, slot, event in events:
        at += wait_s
        stage.at.append((at, lambda slot=slot, event=event: apply(slot, event)))  # type: ignore[misc]
    stage.at.append((at + 1, lambda: apply(0, "room")))
    ready: list[int] = []
    calm = at + 100 + RETRIES.longest_wait_s + removing_s
    stage.at.append((calm, lambda: ready.append(stage.supervisor.standing.states[State.READY])))
    stage.at.append((calm + 1, stage.supervisor.request_stop))
    assert stage.run(give_up_after_s=calm + 60) is ExitCode.OK
    assert ready == [2]
