"""A commit gate that lets everything through, for tests of other things."""

from __future__ import annotations

from pipeline.commit.budget import BudgetPolicy, FailureBudget
from pipeline.ports import Clock, Meter
from tests.rigs.workers.scripted_trials import ScriptedTrials
from workers.stream.commit_gate import CommitGate


def open_gate(clock: Clock, meter: Meter) -> CommitGate:
    return CommitGate(
        FailureBudget(BudgetPolicy(max_share=1)), 0.0, ScriptedTrials(), clock=clock, meter=meter
    )
