"""Which objects are held in memory, and which go aside so that all other objects go on.

An attempt takes a place, which bounds memory, and keeps it until the object is decoded. An object
goes *aside* if it has failed before, or if its store is far slower than usual. All objects aside
together have at most a quarter of the places. An object aside that waits for the store's first byte
has no place, because nothing of it is in memory yet.

A fetch has a *source*. The caller makes fetches of one source wait for one another, as references
of one queue do. A source with objects aside brings a bounded number of fetches. So does a source
with objects *held up*: these wait for a store that is down while other stores serve.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

from pipeline.priority import BEFORE_ALL, Turns

_ASIDE_SHARE = 4
"""Objects aside may hold one place in this many."""

_CROWD = 4
"""Fetches, for each place, that the watched sources together may have in progress."""

_BURST_SHARE = 8
"""A source with more objects aside than one for this many places sends its new objects aside too.
Otherwise a run of bad objects could fill every place before they are known to be bad."""

_WATCHED_S = 30.0
"""A source is watched for this many seconds after its last object has come back, because the
references behind that object may be no better."""


class Places:
    """The places of one worker, shared by all its stores. Belongs to one event loop;
    ``sources_aside``, ``sources_held_up`` and ``room_aside`` may be read from any thread."""

    def __init__(self, most: int, min_share: float) -> None:
        self._most = most
        self._all = Turns(most, min_share)
        self._for_aside = Turns(max(1, most // _ASIDE_SHARE), min_share)
        self._under_way: Counter[Hashable] = Counter()
        self._aside: Counter[Hashable] = Counter()
        self._held_up: Counter[Hashable] = Counter()
        # Sources that have objects aside or held up (None), or had some lately (the timer that ends
        # the watch).
        self._watched: dict[Hashable, asyncio.TimerHandle | None] = {}
        # Fetches in progress of these sources.
        self._crowd = 0

    @property
    def sources_aside(self) -> frozenset[Hashable]:
        """Sources that have objects aside or held up, or had some a moment ago."""
        return frozenset(list(self._watched))

    @property
    def sources_held_up(self) -> frozenset[Hashable]:
        """Sources that have objects held up."""
        return frozenset(list(self._held_up))

    @property
    def room_aside(self) -> int:
        """Fetches that those sources together may begin now."""
        return max(0, self._most * _CROWD - self._crowd)

    def bursts(self, source: Hashable) -> bool:
        """Whether new objects of the source should begin aside."""
        return self._aside[source] * _BURST_SHARE > self._most

    def begin(self, source: Hashable) -> None:
        """A fetch begins."""
        self._under_way[source] += 1
        self._crowd += source in self._watched

    def end(self, source: Hashable) -> None:
        """A fetch ends; its object is neither aside nor held up any more."""
        self._under_way[source] -= 1
        self._crowd -= source in self._watched
        if not self._under_way[source]:
            del self._under_way[source]

    def go_aside(self, source: Hashable) -> None:
        self._aside[source] += 1
        self._watch(source)

    def come_back(self, source: Hashable, *, forgiven: bool = False) -> None:
        """The object is no longer aside. ``forgiven``: its failures say nothing about the
        source."""
        self._aside[source] -= 1
        if self._aside[source]:
            return
        del self._aside[source]
        if forgiven:
            self._forget(source)
        elif source not in self._held_up:
            loop = asyncio.get_running_loop()
            self._watched[source] = loop.call_later(_WATCHED_S, self._forget, source)

    def hold_up(self, source: Hashable) -> None:
        """An object of the source waits for a store that is down."""
        self._held_up[source] += 1
        self._watch(source)

    def let_go(self, source: Hashable) -> None:
        """The object no longer waits."""
        self._held_up[source] -= 1
        if not self._held_up[source]:
            del self._held_up[source]
            self._forget(source)

    def _watch(self, source: Hashable) -> None:
        if source not in self._watched:
            self._crowd += self._under_way[source]
        elif (timer := self._watched[source]) is not None:
            timer.cancel()
        self._watched[source] = None

    def _forget(self, source: Hashable) -> None:
        """Stop watching the source, unless it has objects aside or held up."""
        if source not in self._aside and source not in self._held_up:
            del self._watched[source]
            self._crowd -= self._under_way[source]

    def hold(self) -> Hold:
        """A claim for one object, without a place yet."""
        return Hold(self._all, self._for_aside)


class Hold:
    """One object's claim to a place. It has none while it waits for its turn or for the store."""

    def __init__(self, places: Turns, for_aside: Turns) -> None:
        self._places = places
        self._for_aside = for_aside
        self._has = False
        self._aside = False

    @property
    def taken(self) -> bool:
        """Whether the object has a place."""
        return self._has

    async def take(self, *, aside: bool, level: int) -> None:
        """Wait for a place."""
        if aside:
            await self._for_aside.acquire(level)
        try:
            # An object aside has waited for its turn already, and must not keep others from theirs.
            await self._places.acquire(BEFORE_ALL if aside else level)
        except BaseException:
            if aside:
                self._for_aside.release()
            raise
        self._has, self._aside = True, aside

    async def take_for_answer(self) -> None:
        """Wait for a place, unless the object has one. Called before more is read of an object that
        the store has begun to send."""
        if not self._has:
            await self.take(aside=True, level=BEFORE_ALL)

    def give_back(self) -> None:
        """Idempotent."""
        if self._has:
            self._places.release()
            if self._aside:
                self._for_aside.release()
            self._has = self._aside = False
