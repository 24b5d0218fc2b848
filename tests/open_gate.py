"""A commit gate that lets everything through, for tests of other things."""

from __future__ import annotations

from concurrent.futures import Future

from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.budget import BudgetPolicy, FailureBudget
from pipeline.ports import Clock
from workers.commit_gate import CommitGate


def open_gate(clock: Clock, meter: PrometheusMeter) -> CommitGate:
    return CommitGate(
        FailureBudget(BudgetPolicy(max_share=1)), 0.0, _never, clock=clock, meter=meter
    )


def _never() -> Future[bool]:
    raise AssertionError("nothing is held back, so no good image is asked for")
