"""Which shards are left, and what becomes of those that kill their process."""

from __future__ import annotations

import itertools

from pipeline.backfill.ledger import POISON_DEATHS, Ledger, Task


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


def test_rows_that_kill_their_process_are_found_and_excluded() -> None:
    ledger = Ledger(1, set(), 10)
    deaths = 0
    while not ledger.complete:
        task = ledger.take(idle=True)
        assert task is not None
        rows = range(10) if task.rows is None else range(*task.rows)
        if {3, 8} - set(task.excluded) & set(rows):
            ledger.die(task)
            deaths += 1
        else:
            ledger.finish(task)
            assert task.rows is not None or task.excluded == (3, 8)
    assert deaths > POISON_DEATHS
