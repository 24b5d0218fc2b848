"""Who may hold an object in memory, and who goes aside so that everybody else goes on.

An attempt takes a place, which bounds memory, and keeps it until the object is decoded. Objects
that have failed before, or whose store has been silent for far longer than usual, go *aside*: all
of them together have a quarter of the places at most, and one that waits for the store's first byte
has none, for it holds nothing yet.
"""

from __future__ import annotations

from collections import Counter

from pipeline.priority import FIRST, Turns
from pipeline.records import Partition

_ASIDE_SHARE = 4
"""One place in so many may be held by objects that are aside."""

_CROWD = 4
"""Objects aside, for each place, at which the partitions that have them should bring no more."""

_BURST_SHARE = 8
"""A partition with more objects aside than one for so many places sends its new ones aside too: a
run of bad objects must not fill every place before they are known."""

_ANSWERED = FIRST - 1
"""The level of those whose store has answered: they hold an open response."""


class Places:
    """The places of one worker. Belongs to one event loop; ``partitions_aside`` and ``crowded`` may
    be read from any thread."""

    def __init__(self, most: int, min_share: float) -> None:
        self._most = most
        self._all = Turns(most, min_share)
        self._for_aside = Turns(max(1, most // _ASIDE_SHARE), min_share)
        self._aside: Counter[Partition] = Counter()
        self._count = 0

    @property
    def partitions_aside(self) -> frozenset[Partition]:
        """Partitions that have objects aside."""
        return frozenset(list(self._aside))

    @property
    def crowded(self) -> bool:
        """Whether so many objects are aside that their partitions should bring no more."""
        return self._count >= self._most * _CROWD

    def bursts(self, partition: Partition) -> bool:
        """Whether new objects of the partition should begin aside."""
        return self._aside[partition] * _BURST_SHARE > self._most

    def go_aside(self, partition: Partition) -> None:
        self._aside[partition] += 1
        self._count += 1

    def come_back(self, partition: Partition) -> None:
        self._aside[partition] -= 1
        self._count -= 1
        if not self._aside[partition]:
            del self._aside[partition]

    def hold(self) -> Hold:
        """A claim for one object, without a place yet."""
        return Hold(self._all, self._for_aside)


class Hold:
    """One object's claim: it has a place, or none while it waits for its turn or for the store."""

    def __init__(self, places: Turns, for_aside: Turns) -> None:
        self._places = places
        self._for_aside = for_aside
        self._has = False
        self._aside = False

    @property
    def taken(self) -> bool:
        """Whether it has a place."""
        return self._has

    async def take(self, *, aside: bool, level: int) -> None:
        """Wait for a place."""
        if aside:
            await self._for_aside.acquire(level)
        try:
            await self._places.acquire(level)
        except BaseException:
            if aside:
                self._for_aside.release()
            raise
        self._has, self._aside = True, aside

    async def take_for_answer(self) -> None:
        """Wait for a place, unless it has one, before more is read of an object that the store has
        begun to send."""
        if not self._has:
            await self.take(aside=True, level=_ANSWERED)

    def give_back(self) -> None:
        """Idempotent."""
        if self._has:
            self._has = False
            self._places.release()
            if self._aside:
                self._for_aside.release()
