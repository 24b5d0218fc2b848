"""Which shards are left, which are in work, and what became of those that killed their process.

Pure state of one driver. What is committed is known from the store alone.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pipeline.errors import Halt

POISON_DEATHS = 3
"""A shard that has killed its process so often is set aside, and done last."""

MOST_ASIDE = 10
"""Shards that may be set aside. More have another cause than single objects."""

MOST_CULPRITS = 20
"""Rows of one shard that may kill their process."""

MOST_IN_A_ROW = 20
"""Deaths of processes in searches, with nothing finished in between. A search meets fewer, because
one half of the rows rarely dies if the other does."""

_TO_BE_SURE = 2
"""A row alone must kill its process so often: a process also dies with its node."""

_SEARCHES = 2
"""Times that a shard is searched from the start."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Task:
    """Work for one worker. With ``rows``, a trial of some of the shard's rows that commits nothing.
    ``excluded`` are rows that killed their process, and become errors."""

    shard: int
    rows: tuple[int, int] | None = None
    excluded: tuple[int, ...] = ()
    alone: bool = False
    """Nothing else may run in the worker, so that a death of its process has one cause."""


@dataclass(slots=True)
class _Aside:
    """A search for the rows of a shard that kill their process. ``ranges`` are yet to be tried, the
    larger ones first, and each ``[first, last)`` was part of a range that died."""

    ranges: deque[tuple[int, int]]
    culprits: list[int] = field(default_factory=list)
    suspected: Counter[int] = field(default_factory=Counter)
    """How often a row alone has killed its process."""
    searches: int = 1


class Ledger:
    """Hands out tasks. Shards that lie far apart follow one another, because neighbours share a
    prefix of their keys, and a store serves each prefix from one partition."""

    def __init__(self, shards: int, done: Collection[int], rows_of: int) -> None:
        """``done`` are committed. ``rows_of`` is the most rows that a shard has."""
        self._rows_of = rows_of
        self.shards = shards
        self.done = set(done)
        self._waiting = deque(each for each in _mixed(shards) if each not in self.done)
        self._suspects: deque[int] = deque()
        self._aside: dict[int, _Aside] = {}
        self._deaths: Counter[int] = Counter()
        self._in_work: set[int] = set()
        self._ever_aside = 0
        self._in_a_row = 0
        self.trouble: Halt | None = None
        """Why nothing is handed out any more: ``backfill.poison``."""

    @property
    def complete(self) -> bool:
        return len(self.done) == self.shards

    @property
    def left(self) -> int:
        return self.shards - len(self.done)

    @property
    def in_work(self) -> frozenset[int]:
        return frozenset(self._in_work)

    @property
    def set_aside(self) -> frozenset[int]:
        """Shards whose rows are searched for those that kill their process."""
        return frozenset(self._aside)

    def take(self, *, idle: bool) -> Task | None:
        """The next task for a worker, or None. ``idle``: the worker has nothing else in work."""
        if self.trouble is not None:
            return None
        if self._waiting:
            task = Task(self._waiting.popleft())
        elif not idle:
            return None
        elif self._suspects:
            task = Task(self._suspects.popleft(), alone=True)
        else:
            free = (each for each in self._aside if each not in self._in_work)
            if (shard_aside := next(free, None)) is None:
                return None
            task = self._search(shard_aside)
        self._in_work.add(task.shard)
        return task

    def finish(self, task: Task) -> bool:
        """A task was done. Returns whether its shard is committed."""
        self._in_work.discard(task.shard)
        self._in_a_row = 0
        if task.rows is not None:
            return False
        self._aside.pop(task.shard, None)
        self._deaths.pop(task.shard, None)
        self.done.add(task.shard)
        return True

    def give_back(self, task: Task) -> None:
        """A task was returned unfinished: its worker was asked to stop, or cannot write."""
        self._in_work.discard(task.shard)
        if task.shard in self.done:
            return
        if task.shard in self._aside:
            if task.rows is not None:
                self._aside[task.shard].ranges.appendleft(task.rows)
        elif self._deaths[task.shard]:
            self._suspects.append(task.shard)
        else:
            self._waiting.appendleft(task.shard)

    def die(self, task: Task) -> None:
        """The worker's process died with the task in work."""
        self._in_work.discard(task.shard)
        if task.shard in self.done:
            return
        aside = self._aside.get(task.shard)
        if aside is not None:
            self._in_a_row += 1
            if self._in_a_row >= MOST_IN_A_ROW:
                self._give_up(
                    f"{MOST_IN_A_ROW} processes in a row have died, whichever rows they worked on"
                )
            self._narrow(aside, task)
            return
        self._deaths[task.shard] += 1
        if self._deaths[task.shard] < POISON_DEATHS:
            self._suspects.append(task.shard)
            return
        self._ever_aside += 1
        if self._ever_aside > MOST_ASIDE:
            self._give_up(
                f"{self._ever_aside} shards have killed their process {POISON_DEATHS} times each, "
                f"shard {task.shard} the last of them"
            )
        self._aside[task.shard] = _Aside(deque(self._halves((0, self._rows_of))))

    def explains(self, tasks: Collection[Task]) -> bool:
        """Whether the death of a process with these tasks is blamed on its rows, and not on the
        deployment: they had killed a process before."""
        return any(task.alone for task in tasks)

    def _search(self, shard: int) -> Task:
        aside = self._aside[shard]
        rows = aside.ranges.popleft() if aside.ranges else None
        return Task(shard, rows, tuple(sorted(aside.culprits)), alone=True)

    def _narrow(self, aside: _Aside, task: Task) -> None:
        if task.rows is None:
            self._search_again(aside, task.shard)
            return
        first, last = task.rows
        if last - first > 1:
            aside.ranges += self._halves(task.rows)
            return
        aside.suspected[first] += 1
        if aside.suspected[first] < _TO_BE_SURE:
            aside.ranges.append(task.rows)
            return
        aside.culprits.append(first)
        if len(aside.culprits) > MOST_CULPRITS:
            self._give_up(
                f"more than {MOST_CULPRITS} rows of shard {task.shard} kill their process"
            )

    def _search_again(self, aside: _Aside, shard: int) -> None:
        """Without its culprits the shard dies all the same."""
        if aside.searches >= _SEARCHES:
            self._give_up(f"shard {shard} kills its process, and no single row of it does")
        aside.searches += 1
        aside.suspected.clear()
        aside.ranges += self._halves((0, self._rows_of))

    def _halves(self, rows: tuple[int, int]) -> list[tuple[int, int]]:
        first, last = rows
        if last - first <= 1:
            return [rows]
        middle = (first + last) // 2
        return [(first, middle), (middle, last)]

    def _give_up(self, why: str) -> None:
        if self.trouble is None:
            self.trouble = Halt(
                "backfill.poison",
                f"backfill: {why}; look at why the workers die (memory, the model's device), mend "
                "it, and run the command again",
            )


def _mixed(shards: int) -> Iterator[int]:
    """All numbers below ``shards``, each far from the one before."""
    step = max(1, round(shards * _GOLDEN))
    while math.gcd(step, shards) != 1:
        step += 1
    return (number * step % shards for number in range(shards))
