"""Which shards are left, which are in work, and what became of those that killed their process.

Pure state of one driver. What is committed is known from the store alone.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

POISON_DEATHS = 3
"""A shard that has killed its process so often is set aside, and done last."""

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
    """A search for the rows of a shard that kill their process. ``ranges`` are yet to be tried, and
    each ``[first, last)`` was part of a range that died."""

    ranges: list[tuple[int, int]]
    culprits: list[int] = field(default_factory=list)


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
        if self._waiting:
            shard = self._waiting.popleft()
            task = Task(shard)
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
        if task.rows is not None:
            return False
        self._aside.pop(task.shard, None)
        self._deaths.pop(task.shard, None)
        self.done.add(task.shard)
        return True

    def give_back(self, task: Task) -> None:
        """A task was returned unfinished: its worker was asked to stop."""
        self._in_work.discard(task.shard)
        if task.shard in self.done:
            return
        if task.shard in self._aside:
            if task.rows is not None:
                self._aside[task.shard].ranges.append(task.rows)
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
            self._narrow(aside, task)
            return
        self._deaths[task.shard] += 1
        if self._deaths[task.shard] < POISON_DEATHS:
            self._suspects.append(task.shard)
        else:
            self._aside[task.shard] = _Aside([(0, self._rows_of)])

    def explains(self, tasks: Collection[Task]) -> bool:
        """Whether the death of a process with these tasks is blamed on its rows, and not on the
        deployment: they had killed a process before."""
        return any(task.alone for task in tasks)

    def _search(self, shard: int) -> Task:
        aside = self._aside[shard]
        if aside.ranges:
            return Task(shard, rows=aside.ranges.pop(), alone=True)
        return Task(shard, excluded=tuple(sorted(aside.culprits)), alone=True)

    def _narrow(self, aside: _Aside, task: Task) -> None:
        if task.rows is None:
            # Without its culprits the shard dies all the same: search it from the start.
            aside.ranges = [(0, self._rows_of)]
            return
        first, last = task.rows
        if last - first <= 1:
            aside.culprits.append(first)
            return
        middle = (first + last) // 2
        aside.ranges += [(first, middle), (middle, last)]


def _mixed(shards: int) -> Iterator[int]:
    """All numbers below ``shards``, each far from the one before."""
    step = max(1, round(shards * _GOLDEN))
    while math.gcd(step, shards) != 1:
        step += 1
    return (number * step % shards for number in range(shards))
