"""How many workers a job wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.backfill.control import Wish
from pipeline.backfill.ledger import Ledger
from workers.health import Health
from workers.supervise.scaling import Resize

MOST_PLACES = 1024
"""Workers that one driver can run, whatever a person asks for."""


class JobSizing:
    """Implements ``workers.supervise.scaling.Sizing``. The driver sets what is asked for, and the
    supervisor follows."""

    def __init__(self, ledger: Ledger, places: int, busy: Callable[[], int]) -> None:
        """``places`` are wanted if nobody asks for another number. ``busy`` gives the number of
        places up to the last one that has something in work."""
        self._ledger = ledger
        self._places = places
        self._busy = busy
        self.wish = Wish.RUN
        self.max_workers: int | None = None
        self.allowed: int | None = None
        """Places that the stream on the same cluster leaves to the job; None: all."""

    @property
    def alone(self) -> int:
        """Places that the job would have without the stream. No more than there are shards left;
        but a busy worker is never removed for that."""
        asked = self._places if self.max_workers is None else self.max_workers
        return min(asked, MOST_PLACES, max(self._ledger.left, self._busy()))

    @property
    def given_back(self) -> int:
        return 0 if self.allowed is None else max(0, self.alone - self.allowed)

    @property
    def wanted(self) -> int:
        return self.alone - self.given_back if self.wish is Wish.RUN else 0

    def decide(self, workers: Sequence[Health | None]) -> Resize | None:
        if self.wish is not Wish.RUN:
            return Resize(0, f"the job is asked to {self.wish}")
        if self.given_back:
            return Resize(self.wanted, "the stream on this cluster needs the other places")
        return Resize(self.wanted, f"{self._ledger.left} shards are left")
