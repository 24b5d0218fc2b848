"""A short cut of `make chaos`, and the check of the checker: guarantees broken on purpose are
reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.fault.chaos import Harness, harness
from tests.fault.chaos_worker import Sabotage
from tests.fault.lane import DEADLINE_S
from tests.fault.schedules import Fault, Kind, Schedule, draw
from tests.rigs.stages.fault_steps import Step
from tests.rigs.waiting import eventually

pytestmark = [pytest.mark.component, pytest.mark.timeout(900)]

SEED = 20_260_101
SCHEDULES = 40
LANES = 6


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with harness(tmp_path_factory.mktemp("chaos"), LANES) as built:
        yield built


def test_the_guarantees_hold_at_every_step(chaos: Harness) -> None:
    outcomes = chaos.run([draw(SEED, index) for index in range(SCHEDULES)])
    failed = [f"{each.schedule}: {each.verdict}" for each in outcomes if not each.verdict.passed]
    assert not failed, "\n".join(failed)
    # Not every draw meets its step: the work may be over before. Most do.
    faults = [fault for outcome in outcomes for fault in outcome.met]
    assert len(faults) >= SCHEDULES * 3 / 4
    assert {fault.step for fault in faults} == set(Step)


def with_kills_at(step: Step) -> list[Schedule]:
    """Every lane has one: a worker killed at each of the first occurrences of a step."""
    schedules = []
    for occurrence in range(1, LANES + 1):
        drawn = draw(SEED, 1000 + occurrence)
        fault = Fault(0, step, occurrence, Kind.KILL, 0.0)
        schedules.append(replace(drawn, faults=(fault,)))
    return schedules


def test_offsets_committed_before_their_outcomes_are_noticed(chaos: Harness) -> None:
    outcomes = chaos.run(with_kills_at(Step.COMMIT), sabotage=Sabotage.OFFSETS_FIRST)
    assert any(outcome.verdict.lost for outcome in outcomes)


def test_outcomes_without_a_transaction_are_noticed(chaos: Harness) -> None:
    outcomes = chaos.run(with_kills_at(Step.FLUSH), sabotage=Sabotage.NO_TRANSACTIONS)
    assert any(outcome.verdict.duplicated for outcome in outcomes)


def test_a_successor_that_is_not_told_what_is_done_is_noticed(chaos: Harness) -> None:
    schedules = [replace(each, orders=("none", "none")) for each in with_kills_at(Step.PRUNE)]
    outcomes = chaos.run(schedules, sabotage=Sabotage.NO_NOTES)
    assert any(outcome.verdict.duplicated for outcome in outcomes)


def test_outcomes_that_overtake_others_of_their_key_are_noticed(chaos: Harness) -> None:
    # The workers keep no order, and the judge asks for that of keys.
    schedules = [replace(each, orders=("none", "none")) for each in with_kills_at(Step.PRUNE)]
    outcomes = chaos.run(schedules, sabotage=Sabotage.OTHER_ORDER)
    assert any("overtaken" in each for o in outcomes for each in o.verdict.mismatched)


def test_wrong_results_are_noticed(chaos: Harness) -> None:
    (outcome,) = chaos.run(with_kills_at(Step.POLL)[:1], sabotage=Sabotage.WRONG_RESULTS)
    assert outcome.verdict.mismatched


def test_a_worker_that_commits_nothing_is_noticed(chaos: Harness) -> None:
    (outcome,) = chaos.run(
        with_kills_at(Step.POLL)[:1], sabotage=Sabotage.NO_COMMITS, deadline_s=10.0
    )
    assert outcome.verdict.stuck


def test_a_transaction_that_holds_readers_up_too_long_is_noticed(chaos: Harness) -> None:
    lane = chaos.lanes[0]
    second_commit = with_kills_at(Step.COMMIT)[1]
    outcome = lane.run(second_commit, Sabotage.OPEN_TRANSACTION, DEADLINE_S)
    assert any(each.startswith("readers of") for each in outcome.verdict.stuck), outcome.verdict
    # It holds up whatever the lane is used for next.
    ends = lane._written.end_offsets
    eventually(lambda: lane._readable.end_offsets(lane._outputs) == ends(lane._outputs))


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    assert draw(1, 7) == draw(1, 7) != draw(2, 7)
    assert len({str(draw(1, index)) for index in range(200)}) == 200
