"""Hands shards to workers, and learns what became of them. Part of the driver; knows no Ray."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.backfill.ledger import Ledger, Task
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt
from workers.backfill.worker import AT_ONCE, Assignment, BackfillHealth
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
    rows: int = 0
    failed: int = 0


class Dispatcher:
    """One driver's hands. Called at every look of the supervisor at its workers."""

    def __init__(self, ledger: Ledger, stuck: Stuck) -> None:
        self._ledger = ledger
        self._stuck = stuck
        self._places: dict[int, _Place] = {}
        self._rows_before = self._failed_before = 0
        self.committed = Summary()
        """Of the shards that this driver has seen committed."""
        self.dispensing = True
        """Whether shards are handed out. Off while the job is paused."""
        self.halt: Halt | None = None
        """Why the job must stop. Nothing is handed out any more."""

    @property
    def rows(self) -> int:
        """Rows that have an outcome since the start of this driver, committed or not."""
        return self._rows_before + sum(place.rows for place in self._places.values())

    @property
    def failed(self) -> int:
        return self._failed_before + sum(place.failed for place in self._places.values())

    def look(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            place = self._places.get(slot.number)
            if place is not None and slot.handle is not place.handle:
                self._vacate(slot, place)
                place = None
            if slot.handle is None or not isinstance(slot.fresh, BackfillHealth):
                continue
            if place is None:
                place = self._places[slot.number] = _Place(slot.handle)
            self._exchange(slot, place, slot.fresh)
        if self.halt is None:
            self.halt = self._ledger.trouble or self._stuck.look(
                self.rows,
                [slot.fresh for slot in slots if isinstance(slot.fresh, BackfillHealth)],
            )

    def blames_work(self, slot: Slot) -> bool:
        """Whether the death of the worker in a place is the fault of what it worked on."""
        place = self._places.get(slot.number)
        return place is not None and self._ledger.explains(place.given)

    # -- inside -----------------------------------------------------------------------------

    def _exchange(self, slot: Slot, place: _Place, health: BackfillHealth) -> None:
        place.rows, place.failed = health.rows, health.failed
        finished = [done for done in health.done if done.task in place.given]
        for done in finished:
            place.given.discard(done.task)
            if self._ledger.finish(done.task):
                self.committed += done.summary
                log.debug("shard %d is committed", done.task.shard)
        place.seen |= place.given & set(health.working)
        for task in [each for each in place.seen & place.given if each not in health.working]:
            place.given.discard(task)
            self._ledger.give_back(task)
        place.seen &= place.given
        begin = (*self._again(place, health), *self._for(slot, place, health))
        forget = tuple(done.task for done in health.done)
        if begin or forget:
            place.handle.tell(Assignment(begin, forget))

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
        self._rows_before += place.rows
        self._failed_before += place.failed
        died = slot.last_end is not None and slot.last_end.fate is Fate.DIED
        for task in place.given:
            if died:
                self._ledger.die(task)
            else:
                self._ledger.give_back(task)
