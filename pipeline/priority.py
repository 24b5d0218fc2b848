"""Who goes first when several input topics share one worker: live traffic before backfill. No
I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Generic, Self, TypeVar

from pydantic import Field, model_validator

from pipeline.policy import Policy, Tier

T = TypeVar("T")

FIRST = 0
"""The level of topics that ``priority.lower`` does not list."""
BEFORE_ALL = FIRST - 1
"""The level of the worker's own work, which no backlog may hold up."""


class PriorityPolicy(Policy):
    """Which input topics get only the capacity that other topics leave."""

    tier = Tier.TUNING

    lower: tuple[str, ...] = Field(
        (),
        description="Input topics that get only the capacity that all other topics leave, such as "
        "a backfill next to live traffic. If there are several, each gets what the topics listed "
        "before it leave.",
    )
    min_share: Annotated[float, Tier.EXPERT] = Field(
        0.05,
        description="Share of the work that each of these topics always gets while it has "
        "records. With 0 a topic can starve.",
        ge=0,
        le=0.5,
    )

    @model_validator(mode="after")
    def _shares_leave_half(self) -> Self:
        if len(self.lower) * self.min_share > 0.5:
            raise ValueError(
                f"priority.min_share: {self.min_share:g} for each of {len(self.lower)} topics is "
                f"more than half of the work; write {0.5 / len(self.lower):.2g} at most"
            )
        return self

    def level(self, topic: str) -> int:
        """The topic's level. Level 0 is served first."""
        return self.lower.index(topic) + 1 if topic in self.lower else FIRST

    @property
    def levels(self) -> range:
        return range(len(self.lower) + 1)


class PriorityQueue(Generic[T]):
    """First come, first served within a level. A lower level is served when no higher level waits,
    and for its ``min_share`` of the turns. Not thread-safe."""

    def __init__(self, min_share: float = 0.0) -> None:
        self._min_share = min_share
        self._levels: dict[int, deque[T]] = {}
        self._owed: dict[int, float] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, item: T, level: int = FIRST) -> None:
        if level not in self._levels:
            self._levels[level] = deque()
            self._levels = dict(sorted(self._levels.items()))
        self._levels[level].append(item)
        self._size += 1

    def pop(self) -> T:
        """The next item.

        Raises:
            IndexError: nothing waits.
        """
        waiting = [level for level, items in self._levels.items() if items]
        if not waiting:
            raise IndexError("priority: nothing waits")
        self._size -= 1
        first, *lower = waiting
        # Each turn adds ``min_share`` to what a waiting level is owed. A whole turn owed is paid at
        # once.
        for level in lower:
            self._owed[level] = self._owed.get(level, 0.0) + self._min_share
        due = next((level for level in lower if self._owed[level] >= 1), first)
        if due != first:
            self._owed[due] -= 1
        return self._levels[due].popleft()

    def heads(self) -> Iterator[T]:
        """The item of each level that has waited longest."""
        return (items[0] for items in self._levels.values() if items)


class Turns:
    """A semaphore that serves its waiters by priority. Belongs to one event loop."""

    def __init__(self, capacity: int, min_share: float = 0.0) -> None:
        self._free = capacity
        self._waiting: PriorityQueue[asyncio.Future[None]] = PriorityQueue(min_share)

    async def acquire(self, level: int = FIRST) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.push(turn, level)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the turn was granted before the cancellation arrived
            raise

    def release(self) -> None:
        while len(self._waiting):
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
