"""The driver's own work at every look at its workers."""

from __future__ import annotations

import logging
import threading

from pipeline.backfill.control import Wish
from pipeline.backfill.ledger import Ledger
from pipeline.backfill.running.limits import Account
from pipeline.backfill.running.progress import State
from pipeline.ports import Clock
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.driving.orders import Orders
from workers.commands.backfill.driving.telling import Teller
from workers.supervise.supervisor import Supervisor

log = logging.getLogger(__name__)

HEALTHY_S = 30.0


class Watch:
    """Call ``tick`` with every look of the supervisor."""

    def __init__(
        self,
        ledger: Ledger,
        dispatcher: Dispatcher,
        orders: Orders,
        teller: Teller,
        account: Account,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._orders = orders
        self._teller = teller
        self._account = account
        self._clock = clock
        self._ticked_at = clock.monotonic()
        self._asked_to_stop = False
        self.limit: str | None = None
        """The limit that has ended the run, in words."""

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
        halt = self._dispatcher.halt
        return self.limit or (halt.message if halt else self._orders.control.reason)

    def tick(self, supervisor: Supervisor, stopping: threading.Event) -> None:
        now = self._clock.monotonic()
        passed, self._ticked_at = now - self._ticked_at, now
        self._orders.look()
        self._dispatcher.look(supervisor.slots)
        held = (slot for slot in supervisor.slots if slot.handle is not None and slot.node)
        self._account.add(passed, sum(1 for _ in held))
        if self.limit is None and (why := self._account.limit) is not None:
            log.warning("%s; the job is paused, and workers return their shards", why)
            self.limit = why
        halted = self._dispatcher.halt is not None
        cancelled = self._orders.control.wish is Wish.CANCEL
        if stopping.is_set() or self._ledger.complete or cancelled or self.limit or halted:
            self._asked_to_stop = True
            supervisor.request_stop()
        self._teller.look(self.state, self.reason, supervisor.standing, self._account.used)
