"""Which shards are left, and what becomes of those that kill their process."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from pipeline.backfill.ledger import MOST_ASIDE, MOST_IN_A_ROW, POISON_DEATHS, Ledger, Task


def test_each_shard_is_handed_out_once() -> None:
    ledger = Ledger(100, {3, 5}, 10)
    taken = []
    while (task := ledger.take(idle=True)) is not None:
        taken.append(task.shard)
    assert sorted(taken) == [each for each in range(100) if each not in (3, 5)]


def test_neighbours_do_not_follow_one_another() -> None:
    ledger = Ledger(100, set(), 10)
    order = [task.shard for _ in range(100) if (task := ledger.take(idle=False))]
    assert min(abs(one - other) for one, other in itertools.pairwise(order)) > 20


def test_a_shard_that_killed_its_process_runs_alone() -> None:
    ledger = Ledger(2, set(), 10)
    one, other = ledger.take(idle=True), ledger.take(idle=False)
    assert one is not None
    assert other is not None
    ledger.die(one)
    ledger.finish(other)
    assert ledger.take(idle=False) is None
    assert ledger.take(idle=True) == Task(one.shard, alone=True)


def test_a_shard_that_kills_its_process_is_done_last() -> None:
    ledger = Ledger(3, set(), 10)
    order: list[Task] = []
    while (task := ledger.take(idle=True)) is not None and len(order) < 20:
        order.append(task)
        if task.shard == 1:
            ledger.die(task)
            if ledger.set_aside:
                break
        else:
            ledger.finish(task)
    assert ledger.done == {0, 2}
    assert [task for task in order[3:] if task.shard != 1] == []
    assert ledger.take(idle=False) is None
    assert ledger.take(idle=True) == Task(1, rows=(0, 5), alone=True)
    assert ledger.take(idle=True) is None, "a shard is searched by one worker"


def test_what_is_given_back_is_handed_out_again() -> None:
    ledger = Ledger(2, {1}, 10)
    task = ledger.take(idle=True)
    assert task == Task(0)
    assert ledger.in_work == {0}
    assert ledger.take(idle=True) is None
    ledger.give_back(task)
    assert ledger.take(idle=False) == task
    ledger.die(task)
    suspect = ledger.take(idle=True)
    assert suspect == Task(0, alone=True)
    ledger.give_back(suspect)
    assert ledger.take(idle=True) == suspect
    assert ledger.finish(suspect)
    assert ledger.complete


def test_news_of_a_shard_that_is_committed_change_nothing() -> None:
    ledger = Ledger(1, set(), 10)
    task = ledger.take(idle=True)
    assert task is not None
    ledger.finish(task)
    ledger.give_back(task)
    ledger.die(task)
    assert ledger.complete
    assert ledger.take(idle=True) is None


def search(ledger: Ledger, kills: Callable[[set[int], Task], bool], rows: int) -> list[Task]:
    """Work a ledger off alone. ``kills`` says of the rows that are touched whether they kill the
    process. Returns the tasks that were finished."""
    finished: list[Task] = []
    for _ in range(10_000):
        task = ledger.take(idle=True)
        if task is None:
            return finished
        touched = set(range(rows) if task.rows is None else range(*task.rows)) - set(task.excluded)
        if kills(touched, task):
            ledger.die(task)
        else:
            ledger.finish(task)
            finished.append(task)
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("culprits", [{3}, {3, 8}, {0, 1, 9}, {9}, set(range(5))])
def test_rows_that_kill_their_process_are_found_and_excluded(culprits: set[int]) -> None:
    ledger = Ledger(1, set(), 10)
    finished = search(ledger, lambda touched, _: bool(touched & culprits), 10)
    assert ledger.complete
    assert ledger.trouble is None
    assert finished[-1] == Task(0, excluded=tuple(sorted(culprits)), alone=True)


def test_the_largest_shard_is_searched_in_few_deaths() -> None:
    deaths = []

    def kills(touched: set[int], task: Task) -> bool:
        if 77_777 in touched:
            deaths.append(task)
            return True
        return False

    ledger = Ledger(1, set(), 100_000)
    search(ledger, kills, 100_000)
    assert ledger.complete
    assert len(deaths) <= POISON_DEATHS + 18


def test_a_row_that_died_with_its_node_is_no_culprit() -> None:
    died: list[Task] = []

    def kills(touched: set[int], task: Task) -> bool:
        if task.rows is None and len(died) < POISON_DEATHS:
            died.append(task)
            return True
        if 4 in touched and task.rows is not None and task not in died:
            died.append(task)
            return True
        return False

    ledger = Ledger(1, set(), 10)
    finished = search(ledger, kills, 10)
    assert finished[-1] == Task(0, alone=True)


def test_a_shard_that_dies_without_a_culprit_ends_the_job_with_a_reason() -> None:
    ledger = Ledger(1, set(), 10)
    search(ledger, lambda _, task: task.rows is None, 10)
    assert ledger.trouble is not None
    assert ledger.trouble.code == "backfill.poison"
    assert "no single row" in ledger.trouble.message


def test_processes_that_always_die_end_the_job_soon() -> None:
    deaths = 0

    def kills(_: set[int], __: Task) -> bool:
        nonlocal deaths
        deaths += 1
        return True

    ledger = Ledger(1, set(), 100_000)
    search(ledger, kills, 10)
    assert ledger.trouble is not None
    assert deaths == POISON_DEATHS + MOST_IN_A_ROW
    assert not ledger.complete


def test_too_many_poison_shards_end_the_job() -> None:
    ledger = Ledger(MOST_ASIDE + 5, set(), 4)
    search(ledger, lambda touched, _: 2 in touched, 4)
    assert ledger.trouble is not None
    assert f"{MOST_ASIDE + 1} shards" in ledger.trouble.message


def test_only_a_task_alone_explains_a_death() -> None:
    ledger = Ledger(2, set(), 4)
    assert not ledger.explains([Task(0), Task(1)])
    assert ledger.explains([Task(0, alone=True)])
    assert not ledger.explains([])
