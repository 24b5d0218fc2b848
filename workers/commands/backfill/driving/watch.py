"""The driver's own work at every look at its workers."""

from __future__ import annotations

import logging
import threading

from pipeline.backfill.control import Wish
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.running.limits import Account
from pipeline.backfill.running.progress import State
from pipeline.errors import Halt
from pipeline.ports import Clock
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.driving.orders import Orders
from workers.commands.backfill.driving.telling import Teller
from workers.supervise.supervisor import Supervisor

log = logging.getLogger(__name__)

HEALTHY_S = 30.0

ABSENT_S = 5.0
"""If two looks are further apart than this, the driver itself was stopped in between."""


class Watch:
    """Call ``tick`` with every look of the supervisor."""

    def __init__(
        self,
        ledger: Ledger,
        dispatcher: Dispatcher,
        orders: Orders,
        teller: Teller,
        account: Account,
        stuck_s: float,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._orders = orders
        self._teller = teller
        self._account = account
        self._stuck_s = stuck_s
        self._clock = clock
        self._ticked_at = self._moved_at = clock.monotonic()
        self._moved = (0, 0)
        self._asked_to_stop = False
        self.limit: str | None = None
        """The limit that has ended the run, in words."""
        self.halt: Halt | None = None
        """Why a person must act, although no worker has halted."""

    @property
    def healthy(self) -> bool:
        return self._clock.monotonic() - self._ticked_at < HEALTHY_S

    @property
    def state(self) -> State:
        if self._ledger.complete:
            return State.COMPLETE
        wish = self._orders.control.wish
        if wish is Wish.CANCEL:
            return State.CANCELLED
        if self._asked_to_stop:
            return State.STOPPING
        return State.PAUSED if wish is Wish.PAUSE else State.RUNNING

    @property
    def reason(self) -> str:
        return self.limit or (self.halt.message if self.halt else self._orders.control.reason)

    def tick(self, supervisor: Supervisor, stopping: threading.Event) -> None:
        now = self._clock.monotonic()
        passed, self._ticked_at = now - self._ticked_at, now
        self._orders.look()
        self._dispatcher.look(supervisor.slots)
        held = (slot for slot in supervisor.slots if slot.handle is not None and slot.node)
        self._account.add(passed, sum(1 for _ in held))
        self._judge(now, passed)
        cancelled = self._orders.control.wish is Wish.CANCEL
        if stopping.is_set() or self._ledger.complete or cancelled or self.limit or self.halt:
            self._asked_to_stop = True
            supervisor.request_stop()
        self._teller.look(self.state, self.reason, supervisor.standing, self._account.used)

    def _judge(self, now: float, passed: float) -> None:
        """Whether a limit is reached, and whether anything still moves."""
        if self.limit is None and (why := self._account.limit) is not None:
            log.warning("%s; the job is paused, and workers return their shards", why)
            self.limit = why
        moved = (self._dispatcher.counts["rows"], len(self._ledger.done))
        waits = not self._dispatcher.workers or not self._ledger.in_work
        if moved != self._moved or waits or passed > ABSENT_S:
            self._moved, self._moved_at = moved, now
        elif now - self._moved_at >= self._stuck_s and self.halt is None:
            self.halt = Halt(
                "backfill.stuck",
                f"backfill: {self._dispatcher.workers} workers ran, and no row had an outcome for "
                f"{now - self._moved_at:.0f} s (backfill.stuck_s = {self._stuck_s:g}); the store "
                "refuses or fails everything that is left: mend it, and run the job again",
            )
            log.error("%s", self.halt)
