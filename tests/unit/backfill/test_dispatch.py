"""What a driver hands to workers, and what it makes of their answers and of their ends."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.backfill.ledger import POISON_DEATHS, Ledger, Task
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt
from tests.rigs.workers.backfill_places import IDLE, Place
from workers.backfill.worker import Done
from workers.commands.backfill.dispatch import TOLD_AGAIN, Dispatcher
from workers.commands.backfill.stuck import Stuck
from workers.supervise.slot import Fate, Slot

STUCK_S = 600.0


class Rig:
    def __init__(self, shards: int, workers: int = 1) -> None:
        self.clock = HandClock()
        self.ledger = Ledger(shards, set(), 4)
        self.dispatcher = Dispatcher(self.ledger, Stuck(STUCK_S, self.clock), 0.5)
        self.places = [Place(number) for number in range(workers)]

    def look(self) -> None:
        self.dispatcher.look(cast("list[Slot]", self.places))

    def halt(self) -> Halt | None:
        return self.dispatcher.halt

    def answer(self, number: int = 0, **changes: object) -> None:
        self.places[number].fresh = replace(IDLE, **changes)  # type: ignore[arg-type]
        self.look()


def done(*tasks: Task) -> tuple[Done, ...]:
    return tuple(Done(task, Summary(rows=4, classified=4)) for task in tasks)


def test_each_worker_gets_two_shards_and_the_next_when_one_is_done() -> None:
    rig = Rig(5)
    rig.look()
    place = rig.places[0]
    first, second = place.begun
    rig.answer(working=(first, second))
    assert len(place.begun) == 2
    rig.answer(working=(second,), done=done(first), rows=4)
    assert len(place.begun) == 3
    assert place.handle is not None
    assert place.handle.told[-1].forget == (first,)
    assert rig.ledger.done == {first.shard}
    assert (rig.dispatcher.committed.rows, rig.dispatcher.counts["rows"]) == (4, 4)


def test_a_worker_that_reports_a_task_twice_is_counted_once() -> None:
    rig = Rig(1)
    rig.look()
    (task,) = rig.places[0].begun
    rig.answer(done=done(task))
    rig.answer(done=done(task))
    assert rig.dispatcher.committed.rows == 4
    assert rig.ledger.complete


def test_what_a_worker_returns_goes_to_another() -> None:
    rig = Rig(1, workers=2)
    rig.look()
    (task,) = rig.places[0].begun
    rig.answer(working=(task,))
    rig.answer(working=(), ready=False)
    assert rig.places[1].begun == [task]


def test_a_task_that_was_never_seen_is_told_again() -> None:
    rig = Rig(1)
    rig.look()
    (task,) = rig.places[0].begun
    for _ in range(TOLD_AGAIN - 1):
        rig.look()
    assert rig.places[0].begun == [task]
    rig.look()
    assert rig.places[0].begun == [task, task]
    rig.answer(working=(task,))
    for _ in range(3 * TOLD_AGAIN):
        rig.look()
    assert rig.places[0].begun == [task, task]


@pytest.mark.parametrize(
    "changes", [{"ready": False}, {"leaving": True}, {"moving": True}, {"fresh": None}]
)
def test_who_is_about_to_end_or_does_not_answer_gets_nothing(changes: dict[str, object]) -> None:
    rig = Rig(3)
    if "ready" in changes:
        rig.answer(ready=False)
    else:
        for name, value in changes.items():
            setattr(rig.places[0], name, value)
        rig.look()
    assert rig.places[0].begun == []


def test_a_paused_job_hands_nothing_out_and_hears_of_what_is_done() -> None:
    rig = Rig(3)
    rig.look()
    first, second = rig.places[0].begun
    rig.dispatcher.dispensing = False
    rig.answer(working=(second,), done=done(first))
    assert len(rig.places[0].begun) == 2
    assert rig.ledger.done == {first.shard}


@pytest.mark.parametrize("fate", [Fate.STOPPED, Fate.KILLED, Fate.UNAVAILABLE, Fate.HALTED])
def test_shards_of_a_worker_that_was_ended_are_not_to_blame(fate: Fate) -> None:
    rig = Rig(2)
    rig.look()
    before = rig.places[0].begun
    rig.places[0].end(fate)
    rig.look()
    rig.places[0].start()
    rig.look()
    assert set(rig.places[0].begun) == set(before)
    assert rig.ledger.take(idle=True) is None


def test_shards_of_a_worker_that_died_run_alone() -> None:
    rig = Rig(2)
    rig.look()
    shards = {task.shard for task in rig.places[0].begun}
    assert not rig.dispatcher.blames_work(cast("Slot", rig.places[0]))
    rig.places[0].end(Fate.DIED)
    rig.look()
    rig.places[0].start()
    rig.look()
    (alone,) = rig.places[0].begun
    assert alone.alone
    assert alone.shard in shards
    assert rig.dispatcher.blames_work(cast("Slot", rig.places[0]))


def test_a_worker_that_is_restarted_between_two_looks_has_lost_its_tasks() -> None:
    rig = Rig(1)
    rig.look()
    before = rig.places[0].begun
    rig.places[0].end(Fate.STOPPED)
    rig.places[0].start()
    rig.look()
    assert rig.places[0].begun == before


def test_rows_of_workers_that_have_ended_still_count() -> None:
    rig = Rig(9)
    rig.answer(rows=100, failed=3)
    rig.places[0].end(Fate.DIED)
    rig.look()
    rig.places[0].start()
    rig.answer(rows=7, failed=1)
    assert (rig.dispatcher.counts["rows"], rig.dispatcher.counts["failed"]) == (107, 4)


def test_a_poison_shard_ends_the_job_only_with_a_reason() -> None:
    rig = Rig(1)
    deaths = 0
    while rig.halt() is None and deaths < 200:
        rig.look()
        rig.places[0].end(Fate.DIED)
        rig.look()
        rig.places[0].start()
        deaths += 1
    assert POISON_DEATHS < deaths < 200
    halt = rig.halt()
    assert halt is not None
    assert halt.code == "backfill.poison"
    rig.look()
    assert rig.places[0].begun == []


def test_a_job_without_an_outcome_for_long_ends_with_the_reason() -> None:
    rig = Rig(2)
    rig.look()
    tasks = tuple(rig.places[0].begun)
    refused = "the store: fetch.forbidden: 403 AccessDenied; grant s3:GetObject"
    rig.answer(working=tasks, rows=3, trouble=refused)
    rig.clock.now += STUCK_S - 1
    rig.look()
    assert rig.halt() is None
    rig.clock.now += 1
    rig.look()
    halt = rig.halt()
    assert halt is not None
    assert halt.code == "backfill.stuck"
    assert refused in halt.message


def test_a_job_that_waits_for_workers_or_gets_outcomes_is_not_stuck() -> None:
    rig = Rig(2)
    rig.answer(ready=False)
    rig.clock.now += 10 * STUCK_S
    rig.look()
    rig.answer()
    tasks = tuple(rig.places[0].begun)
    for rows in range(10):
        rig.clock.now += STUCK_S - 1
        rig.answer(working=tasks, rows=rows)
    assert rig.halt() is None


@pytest.mark.parametrize("stopped", [False, True])
def test_rows_that_are_looked_at_again_are_no_progress_unless_a_worker_was_stopped(
    stopped: bool,
) -> None:
    rig = Rig(1)
    rig.look()
    (task,) = rig.places[0].begun
    for turn in range(6):
        rig.answer(working=(task,), rows=4 * turn)
        rig.clock.now += STUCK_S / 3
        rig.answer(ready=not stopped, rows=4 * turn + 4, trouble="s3: 507")
        rig.look()
    halt = rig.halt()
    assert (halt is None) is stopped
    assert halt is None or "without a shard being committed" in halt.message
