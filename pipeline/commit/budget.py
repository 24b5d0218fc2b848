"""The failure budget: how much of a stream may be dead-lettered before a person must look.

A wrong setting, a revoked permission or a broken model would turn a whole topic into dead letters,
each of them plausible by itself. No I/O, no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from pipeline.errors import CODES, Blame, Code
from pipeline.policy import Policy, Tier

_TOGETHER = {"fetch": "the fetch stage", "encode": "the model"}
"""Stages whose codes count as one reason, because they have one cause behind them."""


class BudgetPolicy(Policy):
    """When failures stop the stream instead of becoming dead letters."""

    tier = Tier.TUNING

    window: Annotated[int, Tier.EXPERT] = Field(
        100,
        description="Number of latest outcomes that are judged together. Skipped references are "
        "not counted.",
        gt=0,
    )
    max_share: float = Field(
        0.5,
        description="Largest share of the window that may be dead-lettered for one reason. A "
        "worker halts without committing when the share is exceeded. One reason is: the fetch "
        "stage, the model, or any other single code. Codes that a message alone can cause never "
        "count. Codes that an image alone can cause count only while Clipstream's own good image "
        "fails too. Missing and refused objects count only while nothing can be read from their "
        "bucket. 1 never halts.",
        ge=0.5,
        le=1,
    )
    hold_s: Annotated[float, Tier.EXPERT] = Field(
        5.0,
        description="Seconds that outcomes wait for the window to fill when too many of them are "
        "failures. After that they are committed. The wait is 60 times as long while the worker's "
        "latest outcomes since its start, up to `window`, are mostly failures too; otherwise "
        "restarts would commit failures bit by bit. A stream that brings fewer than `window` "
        "outcomes in this time commits some of the failures before it halts.",
        ge=0,
    )


class Failure(NamedTuple):
    """A dead letter, as the budget sees it. ``bucket`` is the bucket of its object, if it has
    one."""

    code: str
    bucket: str | None = None


def counts(code: str) -> bool:
    """Whether a dead letter with this code can count at all."""
    return code not in CODES or CODES[code].blame is not Blame.MESSAGE


class Doubt(StrEnum):
    """The trial that could show that failures are not this deployment's fault."""

    NONE = "none"
    GOOD_IMAGES = "good images"
    """Good images can be classified."""
    BUCKETS = "buckets"
    """Other objects of the same buckets can be read."""


@dataclass(frozen=True, slots=True)
class Excess:
    """More failures for one reason than the budget allows: more than ``bound``.

    ``spent``: the failures fill a whole window, so they are no accident. ``doubt``: the trial that
    could excuse enough of them to end the excess; ``buckets`` counts the failures of each bucket in
    question. ``throughout``: what this run has committed so far was no better.
    """

    reason: str
    failures: int
    outcomes: int
    bound: float
    spent: bool
    doubt: Doubt = Doubt.NONE
    buckets: Mapping[str, int] = field(default_factory=dict)
    throughout: bool = True

    @property
    def share(self) -> float:
        return self.failures / self.outcomes

    def __str__(self) -> str:
        share = f"{self.failures} of {self.outcomes} references"
        return f"{share} would be dead-lettered for {self.reason}"


class FailureBudget:
    """Judges outcomes before they are committed, by themselves and together with earlier outcomes.
    The caller leaves out outcomes that do not count (``counts``)."""

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._latest: deque[Failure | None] = deque(maxlen=policy.window)

    def judge(self, outcomes: Sequence[Failure | None]) -> Excess | None:
        """The excess that speaks against committing these outcomes, or None. An outcome of None is
        a classification."""
        window = self._policy.window
        latest = [*self._latest, *outcomes]
        for judged in (latest[-window:], outcomes):
            excess = self._excess(judged, spent=len(judged) >= window)
            # Earlier failures are no reason to stop at outcomes that have nothing to do with them.
            if excess and excess.spent and excess.reason in map(_reason, filter(None, outcomes)):
                return excess
        excess = self._excess(outcomes, spent=False)
        if excess is None:
            return None
        throughout = self._excess(latest[-window:], spent=False) is not None
        return replace(excess, throughout=throughout)

    def note(self, outcome: Failure | None) -> None:
        """One more outcome was committed."""
        self._latest.append(outcome)

    def _excess(self, outcomes: Sequence[Failure | None], *, spent: bool) -> Excess | None:
        failures = [each for each in outcomes if each is not None]
        reasons = Counter(map(_reason, failures))
        if not reasons:
            return None
        ((reason, count),) = reasons.most_common(1)
        bound = self._policy.max_share * len(outcomes)
        if count <= bound:
            return None
        of_objects = [
            each
            for each in failures
            if _reason(each) == reason and _blame(each.code) is Blame.OBJECT
        ]
        excess = Excess(reason, count, len(outcomes), bound, spent)
        if _blame(reason) is Blame.IMAGE:
            return replace(excess, doubt=Doubt.GOOD_IMAGES)
        if count - len(of_objects) <= bound:
            buckets = Counter(each.bucket or "" for each in of_objects)
            return replace(excess, doubt=Doubt.BUCKETS, buckets=buckets)
        return excess


def _reason(failure: Failure) -> str:
    return _TOGETHER.get(Code.stage(failure.code), failure.code)


def _blame(code: str) -> Blame:
    return CODES[code].blame if code in CODES else Blame.DEPLOYMENT
