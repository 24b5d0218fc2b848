"""Places of workers as a backfill's driver sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.backfill.ledger import Task
from workers.backfill.worker import Assignment, BackfillHealth
from workers.supervise.slot import Ended, Fate

IDLE = BackfillHealth(
    cycle_age_s=0.0,
    encode_age_s=0.0,
    commit_age_s=0.0,
    idle_s=0.0,
    partitions=0,
    unfinished=0,
    lag=None,
    committed=0,
    passed=0,
    available=True,
    held_up=False,
    working=(),
    done=(),
    rows=0,
    failed=0,
    ready=True,
)


@dataclass
class Handle:
    told: list[Assignment] = field(default_factory=list)

    def tell(self, message: object) -> None:
        assert isinstance(message, Assignment)
        self.told.append(message)


@dataclass
class Place:
    """What a dispatcher sees of a slot."""

    number: int = 0
    handle: Handle | None = field(default_factory=Handle)
    fresh: BackfillHealth | None = IDLE
    last_end: Ended | None = None
    leaving: bool = False
    moving: bool = False

    def end(self, fate: Fate) -> None:
        self.handle, self.fresh, self.last_end = None, None, Ended(fate)

    def start(self) -> None:
        self.handle, self.fresh = Handle(), IDLE

    @property
    def begun(self) -> list[Task]:
        assert self.handle is not None
        return [task for each in self.handle.told for task in each.begin]
