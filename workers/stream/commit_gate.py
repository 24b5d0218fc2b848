"""Stands between the commit window and the commit: decides whether the failure budget admits
outcomes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol

from pipeline import metrics
from pipeline.commit.budget import Doubt, Excess, Failure, FailureBudget, counts
from pipeline.commit.settled import Classified, DeadLettered, PassedOver, Settled
from pipeline.errors import Halt
from pipeline.ports import Clock, Meter

log = logging.getLogger(__name__)

GOOD_FOR_S = 10.0
"""Seconds for which the verdict of a trial counts."""


FROM_THE_START = 60
"""Failures wait this many times longer in a run that has committed hardly anything else. Otherwise
a slow stream would commit some failures in each run, and restarts of the worker would drain the
topic."""


class Trials(Protocol):
    """Starts trials that show whose fault failures are. The futures give the verdict."""

    def good_images(self) -> Future[bool]:
        """Whether the bundled images can be classified."""

    def bucket(self, bucket: str) -> Future[bool]:
        """Whether an object of the bucket that was read before can be read now."""


class CommitGate:
    """Holds back outcomes that are mostly failures until it is clear whether the input is at fault.
    Used by the Kafka thread only."""

    def __init__(
        self,
        budget: FailureBudget,
        hold_s: float,
        trials: Trials,
        *,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._budget = budget
        self._hold_s = hold_s
        self._trials = trials
        self._clock = clock
        self._meter = meter
        self.holds = False
        """Whether outcomes are held back."""
        self._held_since: float | None = None
        # Trials by bucket; None stands for the good images.
        self._begun: dict[str | None, Future[bool]] = {}
        self._verdicts: dict[str | None, tuple[bool, float]] = {}

    def admits(self, outcomes: Iterable[Settled], *, stopping: bool) -> bool:
        """Whether outcomes may be committed now, all of them or some. ``stopping``: no more
        outcomes will follow.

        Raises:
            Halt: ``budget.spent``: the outcomes are a window of failures for one reason.
        """
        excess = self._budget.judge([_judged(each) for each in outcomes if _counts(each)])
        if excess is None:
            return self._release()
        self.holds = True
        self._meter.set(metrics.BUDGET_SPENT, excess.share)
        if excess.doubt is not Doubt.NONE:
            excused = self._excused(excess)
            if excused is None:
                return False
            if excused:
                return self._release()
        if excess.spent:
            raise Halt("budget.spent", _why(excess))
        now = self._clock.monotonic()
        if self._held_since is None:
            self._held_since = now
            log.warning("%s; their commit waits until the cause is clearer", excess)
        hold_s = self._hold_s * (FROM_THE_START if excess.throughout else 1)
        if stopping or now - self._held_since >= hold_s:
            return self._release()
        return False

    def committed(self, settled: Settled) -> None:
        """Note an outcome that was committed."""
        if _counts(settled):
            self._budget.note(_judged(settled))

    def nothing_waits(self) -> None:
        """Note that there is nothing to admit: held outcomes were committed, or their partition was
        lost."""
        self._release()

    def _release(self) -> bool:
        self.holds = False
        self._held_since = None
        self._meter.set(metrics.BUDGET_SPENT, 0.0)
        return True

    def _excused(self, excess: Excess) -> bool | None:
        """Whether trials show that the input is at fault for enough failures, so that no excess is
        left. None while that is not known."""
        if excess.doubt is Doubt.GOOD_IMAGES:
            return self._tried(None)
        verdicts = {bucket: self._tried(bucket) for bucket in excess.buckets}
        if None in verdicts.values():
            return None
        excused = sum(count for bucket, count in excess.buckets.items() if verdicts[bucket])
        return excess.failures - excused <= excess.bound

    def _tried(self, subject: str | None) -> bool | None:
        """The verdict on a bucket or on the good images; None while the trial runs."""
        now = self._clock.monotonic()
        # Collect all finished trials, because a sender may name any number of buckets, each once.
        for ended in [each for each, trial in self._begun.items() if trial.done()]:
            # The verdict's age counts from now, because a trial on a hanging decoder takes long.
            self._verdicts[ended] = (self._begun.pop(ended).result(), now)
        self._verdicts = {
            each: (verdict, at)
            for each, (verdict, at) in self._verdicts.items()
            if now - at <= GOOD_FOR_S
        }
        if subject in self._verdicts:
            return self._verdicts[subject][0]
        if subject not in self._begun:
            trials = self._trials
            self._begun[subject] = (
                trials.good_images() if subject is None else trials.bucket(subject)
            )
        return None


def _counts(settled: Settled) -> bool:
    match settled:
        case Classified():
            return True
        case DeadLettered(letter=letter):
            return counts(letter.code)
        case PassedOver():
            return False


def _judged(settled: Settled) -> Failure | None:
    if not isinstance(settled, DeadLettered):
        return None
    letter = settled.letter
    return Failure(letter.code, letter.ref.bucket if letter.ref else None)


def _why(excess: Excess) -> str:
    also = ""
    if excess.doubt is Doubt.GOOD_IMAGES:
        also = "; bundled good images fail as well"
    elif excess.doubt is Doubt.BUCKETS:
        buckets = ", ".join(sorted(filter(None, excess.buckets))[:3])
        also = f"; no object that was read before can be read from {buckets or 'their buckets'}"
    return (
        f"failure budget: {excess}{also}; these are not committed and will be read again. Look at "
        "the codes in the log and at what was deployed last; if you want them dead-lettered all "
        "the same, set failure_budget.max_share to 1"
    )
