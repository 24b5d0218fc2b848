"""The failure budget: how much of a stream may go to the dead letters before somebody must look.

A wrong setting, a revoked permission or a broken model would turn a whole topic into dead letters,
one plausible failure after the other. No I/O, no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from pipeline.errors import CODES, Code
from pipeline.policy import Policy

_TOGETHER = {"fetch": "the fetch stage", "encode": "the model"}
"""Stages whose codes count as one reason: what is behind them is one thing."""


class BudgetPolicy(Policy):
    """When failures stop the stream instead of becoming dead letters."""

    window: int = Field(
        100,
        description="Latest outcomes that are judged together; skips are not counted.",
        gt=0,
    )
    max_share: float = Field(
        0.5,
        description="A worker halts, and does not commit, when more than this share of the window "
        "would be dead-lettered for the fetch stage, for the model, or with one and the same other "
        "code. Codes that a sender can bring about at will count only while a good image that "
        "Clipstream brings along fails too. 1 never halts.",
        ge=0.5,
        le=1,
    )
    hold_s: float = Field(
        5.0,
        description="Outcomes with such a share among them wait for so long, at most, for the "
        "window to fill before they are committed; 60 times as long where nearly all that the "
        "worker has seen since its start has failed. A stream that brings fewer than `window` "
        "outcomes in this time commits some of the failures before it halts.",
        ge=0,
    )


@dataclass(frozen=True, slots=True)
class Excess:
    """More failures for one reason than the budget has. ``spent``: a whole window of them, so that
    it is no accident. ``malformed``: the input alone may be to blame. ``throughout``: what this run
    has committed before was no better."""

    reason: str
    failures: int
    outcomes: int
    spent: bool
    malformed: bool
    throughout: bool = True

    @property
    def share(self) -> float:
        return self.failures / self.outcomes

    def __str__(self) -> str:
        share = f"{self.failures} of {self.outcomes} references"
        return f"{share} would be dead-lettered for {self.reason}"


class FailureBudget:
    """Judges what is about to be committed, by itself and together with what was before."""

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._latest: deque[str | None] = deque(maxlen=policy.window)

    def judge(self, codes: Sequence[str | None]) -> Excess | None:
        """What speaks against committing these outcomes: the code of each dead letter, None for
        each classification; None where nothing does."""
        window = self._policy.window
        latest = [*self._latest, *codes]
        for judged in (latest[-window:], codes):
            excess = self._excess(judged, spent=len(judged) >= window)
            # What was committed before is no reason to stop at what has nothing to do with it.
            if excess and excess.spent and excess.reason in map(_reason, filter(None, codes)):
                return excess
        excess = self._excess(codes, spent=False)
        if excess is None:
            return None
        throughout = self._excess(latest[-window:], spent=False) is not None
        return replace(excess, throughout=throughout)

    def note(self, code: str | None) -> None:
        """One more outcome was committed."""
        self._latest.append(code)

    def _excess(self, codes: Sequence[str | None], *, spent: bool) -> Excess | None:
        reasons = Counter(_reason(code) for code in codes if code is not None)
        if not reasons:
            return None
        ((reason, failures),) = reasons.most_common(1)
        if failures <= self._policy.max_share * len(codes):
            return None
        return Excess(
            reason, failures, len(codes), spent, reason in CODES and CODES[reason].malformed
        )


def _reason(code: str) -> str:
    return _TOGETHER.get(Code.stage(code), code)
