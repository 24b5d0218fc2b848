"""Counts of a job are the sum of its shards' counts."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill.ledger import Task
from pipeline.backfill.summary import BINS, LabelSetTally, LabelTally, Summary, Tally
from pipeline.records import Classification, DeadLetter, ImageRef
from tests.rigs.stages.null_shards import NullFlow, keys_of, null_job, null_rules, null_runner
from workers.backfill.shard import Progress

KEYS = keys_of(60, bad=range(0, 60, 7))


async def looked_at() -> list[Classification | DeadLetter | None]:
    flow, rules = NullFlow(), null_rules()
    found: list[Classification | DeadLetter | None] = [None] * 5
    for key in KEYS:
        found.append(await flow.classify(ImageRef("images", key, ("chaos",)), rules.scoring))
    return found


def tally(outcomes: list[Classification | DeadLetter | None]) -> Summary:
    counted = Tally()
    for outcome in outcomes:
        counted.add(outcome)
    return counted.summary(1.0)


@pytest.mark.parametrize("parts", [1, 2, 9])
def test_the_sum_of_parts_is_the_tally_of_all(parts: int) -> None:
    outcomes = asyncio.run(looked_at())
    whole = tally(outcomes)
    together = Summary.of_all(tally(outcomes[part::parts]) for part in range(parts))
    assert together == whole.model_copy(update={"seconds": float(parts)})


def test_counts_add_up() -> None:
    summary = tally(asyncio.run(looked_at()))
    assert summary.rows == summary.classified + summary.failed + summary.skipped == 65
    assert (summary.failed, summary.skipped) == (9, 5)
    assert summary.codes == {"fetch.not_found": 9}
    assert summary.bytes == 100 * summary.classified
    (counted,) = summary.label_sets.values()
    assert counted.rows == sum(counted.decisions.values()) == summary.classified
    for label in counted.labels.values():
        assert len(label.scores) == BINS
        assert sum(label.scores) == summary.classified


def test_nothing_is_the_sum_of_nothing() -> None:
    assert Summary.of_all([]) == Summary()
    counted = tally(asyncio.run(looked_at()))
    assert Summary() + counted == counted == counted + Summary()


def test_the_ends_of_the_scale_have_bins() -> None:
    outcomes = [each for each in asyncio.run(looked_at()) if isinstance(each, Classification)]
    summary = tally(cast("list[Classification | DeadLetter | None]", outcomes[:1]))
    (counted,) = summary.label_sets.values()
    assert all(sum(label.scores) == 1 for label in counted.labels.values())


def test_a_summary_survives_its_file() -> None:
    folder = MemoryFolder()
    job = null_job(folder, KEYS, 60)
    summary = asyncio.run(null_runner(folder, job).run(Task(0), Progress()))
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


def test_label_sets_that_only_one_part_has_are_kept() -> None:
    one = LabelSetTally(
        rows=1, decisions={"allow": 1}, labels={"cat": LabelTally(matched=0, scores=(1, 0))}
    )
    added = Summary(label_sets={"a": one}) + Summary(label_sets={"b": one})
    assert added.label_sets == {"a": one, "b": one}
