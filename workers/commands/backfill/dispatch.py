"""Hands shards to workers, and learns what became of them. Part of the driver; knows no Ray."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.backfill.budget import too_many_failures
from pipeline.backfill.ledger import Ledger, Task
from pipeline.backfill.running.manners import UNLIMITED, Rates
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt
from workers.backfill.worker import AT_ONCE, Assignment, BackfillHealth, Part
from workers.commands.backfill.stuck import Stuck
from workers.supervise.slot import Fate, Slot, WorkerHandle

log = logging.getLogger(__name__)


TOLD_AGAIN = 50
"""A task that a worker has not been seen to begin for so many looks is told again: a message can be
lost. A worker ignores what it has in work or done."""


@dataclass(slots=True)
class _Place:
    """What the worker in a place was given and has not reported as done. ``seen`` are those that it
    has reported as in work: one that is neither in work nor done any more was returned. The others
    have been looked for ``unseen`` times."""

    handle: WorkerHandle
    given: set[Task] = field(default_factory=set)
    seen: set[Task] = field(default_factory=set)
    unseen: Counter[Task] = field(default_factory=Counter)
    health: BackfillHealth | None = None
    share: Rates = UNLIMITED


class Dispatcher:
    """One driver's hands. Called at every look of the supervisor at its workers."""

    def __init__(self, ledger: Ledger, stuck: Stuck, max_failed_share: float) -> None:
        self._ledger = ledger
        self._stuck = stuck
        self._max_failed_share = max_failed_share
        self._places: dict[int, _Place] = {}
        self._before: Counter[str] = Counter()
        self._codes_before: Counter[str] = Counter()
        self.committed = Summary()
        """Of the shards that this driver has seen committed."""
        self.dispensing = True
        """Whether shards are handed out. Off while the job is paused."""
        self.share: Callable[[int], Rates] = lambda workers: UNLIMITED
        """What each of so many workers may read a second."""
        self.halt: Halt | None = None
        """Why the job must stop. Nothing is handed out any more."""

    @property
    def counts(self) -> Counter[str]:
        """``rows`` that have an outcome since the start of this driver, committed or not, and of
        these ``failed``, ``skipped``; ``bytes`` of those that are classified."""
        return sum((_counts(each) for each in self._healths()), self._before.copy())

    @property
    def codes(self) -> Counter[str]:
        """Failed rows by code, counted like ``counts``."""
        return sum((Counter(each.codes) for each in self._healths()), self._codes_before.copy())

    @property
    def parts(self) -> list[tuple[int, Part]]:
        """What is in work, each with its place."""
        return [
            (number, part)
            for number, place in self._places.items()
            if place.health is not None
            for part in place.health.parts
        ]

    @property
    def workers(self) -> int:
        """Workers that take shards, or would."""
        return len(self._places)

    @property
    def busy(self) -> int:
        """The number of places up to the last one that has something in work."""
        return max((number + 1 for number, place in self._places.items() if place.given), default=0)

    def look(self, slots: Sequence[Slot]) -> None:
        share = self.share(len(self._places))
        for slot in slots:
            place = self._places.get(slot.number)
            if place is not None and slot.handle is not place.handle:
                self._vacate(slot, place)
                place = None
            if slot.handle is None or not isinstance(slot.fresh, BackfillHealth):
                continue
            if place is None:
                place = self._places[slot.number] = _Place(slot.handle)
                share = self.share(len(self._places))
            self._exchange(slot, place, slot.fresh, share)
        if self.halt is None:
            self.halt = (
                self._ledger.trouble
                or too_many_failures(self.committed, self._max_failed_share, "the job")
                or self._stuck.look(
                    self.counts["rows"],
                    [each.health for each in self._places.values() if each.given and each.health],
                )
            )

    def blames_work(self, slot: Slot) -> bool:
        """Whether the death of the worker in a place is the fault of what it worked on."""
        place = self._places.get(slot.number)
        return place is not None and self._ledger.explains(place.given)

    # -- inside -----------------------------------------------------------------------------

    def _healths(self) -> Iterator[BackfillHealth]:
        return (place.health for place in self._places.values() if place.health is not None)

    def _exchange(self, slot: Slot, place: _Place, health: BackfillHealth, share: Rates) -> None:
        place.health = health
        finished = [done for done in health.done if done.task in place.given]
        for done in finished:
            place.given.discard(done.task)
            if self._ledger.finish(done.task):
                self.committed += done.summary
                self._stuck.committed()
                log.debug("shard %d is committed", done.task.shard)
        place.seen |= place.given & set(health.working)
        for task in [each for each in place.seen & place.given if each not in health.working]:
            place.given.discard(task)
            self._ledger.give_back(task)
            if health.ready:
                self._stuck.returned(task.shard)
        place.seen &= place.given
        begin = (*self._again(place, health), *self._for(slot, place, health))
        forget = tuple(done.task for done in health.done)
        told = share if share != place.share else None
        if begin or forget or told is not None:
            place.share = share
            place.handle.tell(Assignment(begin, forget, told))

    def _again(self, place: _Place, health: BackfillHealth) -> tuple[Task, ...]:
        """Tasks that the worker was told and has not begun."""
        unseen = place.given - place.seen
        place.unseen = Counter({task: place.unseen[task] + 1 for task in unseen})
        if not health.ready:
            return ()
        return tuple(task for task in unseen if place.unseen[task] % TOLD_AGAIN == 0)

    def _for(self, slot: Slot, place: _Place, health: BackfillHealth) -> tuple[Task, ...]:
        if not (self.dispensing and health.ready) or self.halt is not None:
            return ()
        if slot.leaving or slot.moving:
            return ()
        begin: list[Task] = []
        while len(place.given) < AT_ONCE and not any(task.alone for task in place.given):
            task = self._ledger.take(idle=not place.given)
            if task is None:
                break
            place.given.add(task)
            begin.append(task)
        return tuple(begin)

    def _vacate(self, slot: Slot, place: _Place) -> None:
        """The worker of a place has ended."""
        del self._places[slot.number]
        if place.health is not None:
            self._before += _counts(place.health)
            self._codes_before += Counter(place.health.codes)
        died = slot.last_end is not None and slot.last_end.fate is Fate.DIED
        for task in place.given:
            if died:
                self._ledger.die(task)
            else:
                self._ledger.give_back(task)


def _counts(health: BackfillHealth) -> Counter[str]:
    return Counter(
        rows=health.rows, failed=health.failed, skipped=health.skipped, bytes=health.bytes
    )
