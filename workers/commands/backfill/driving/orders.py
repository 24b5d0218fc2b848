"""Follows what a person asks for, and the stream on the same cluster."""

from __future__ import annotations

import logging
from functools import partial

from pipeline.backfill.control import Control, Wish
from pipeline.backfill.policy import BackfillPolicy
from pipeline.backfill.running.giving import Giving
from pipeline.backfill.running.manners import Manners, Rates
from pipeline.ports import Clock
from workers.commands.backfill.dispatch import Dispatcher
from workers.commands.backfill.driving.errands import Errand
from workers.commands.backfill.driving.sizing import JobSizing

log = logging.getLogger(__name__)

CONTROL_S = 3.0
"""Between two looks at ``control.json``."""

LAG_S = 5.0
"""Between two questions for the lag of the stream."""


class Orders:
    """Hands on what is asked for, at every look of the driver."""

    def __init__(
        self,
        asked: Errand[Control],
        policy: BackfillPolicy,
        sizing: JobSizing,
        dispatcher: Dispatcher,
        clock: Clock,
        stream_lag: Errand[int] | None = None,
    ) -> None:
        self._asked = asked
        self._policy = policy
        self._sizing = sizing
        self._dispatcher = dispatcher
        self._stream_lag = stream_lag
        self._manners = Manners(policy.ramp_up_s, clock)
        self._giving = Giving(policy.yield_above_lag or 1, clock)
        self._given_back = 0
        self.control = Control()

    def look(self) -> None:
        self._asked.look()
        self._follow(self._asked.answer or self.control)
        if self._stream_lag is not None:
            self._make_room(self._stream_lag)

    def _follow(self, control: Control) -> None:
        if control != self.control:
            log.info(
                "the job is asked to %s%s; %s workers, %s objects/s, %s bytes/s",
                control.wish,
                f" ({control.reason})" if control.reason else "",
                *(
                    "as set" if each is None else f"{each:g}"
                    for each in (control.max_workers, control.objects_per_s, control.bytes_per_s)
                ),
            )
        self.control = control
        self._sizing.wish, self._sizing.max_workers = control.wish, control.max_workers
        self._dispatcher.dispensing = control.wish is Wish.RUN
        rates = Rates(
            control.objects_per_s or self._policy.objects_per_s,
            control.bytes_per_s or self._policy.bytes_per_s,
        )
        self._dispatcher.share = partial(self._manners.share, rates)

    def _make_room(self, stream_lag: Errand[int]) -> None:
        stream_lag.look()
        lag = None if stream_lag.failed else stream_lag.answer
        alone = self._sizing.alone
        allowed = self._giving.allowed(lag, alone)
        self._sizing.allowed = None if allowed >= alone else allowed
        if self._sizing.given_back != self._given_back:
            self._given_back = self._sizing.given_back
            log.info("the stream is %s records behind: it gets %d places", lag, self._given_back)
