"""Samples of a shard and of a job: few, drawn at random, and the same in each attempt."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.backfill.report.samples import (
    BANDS,
    LONGEST_MESSAGE,
    PER_BAND,
    PER_CODE,
    JobSamples,
    Sampler,
    Samples,
    lot,
    lots,
)
from pipeline.backfill.rows import PlanRow
from pipeline.records import Classification, DeadLetter
from tests.rigs.workers.outcomes_of_backfills import LABEL_SET, classification

Outcome = Classification | DeadLetter | None


def row(number: int) -> PlanRow:
    return PlanRow(number, "photos", f"{number}.jpg", etag="planned")


def sampled(shard: int, outcomes: dict[int, Outcome], order: list[int] | None = None) -> Samples:
    sampler = Sampler(shard)
    for number in order or outcomes:
        sampler.add(row(number), outcomes[number])
    return sampler.samples()


def test_a_shard_keeps_a_few_rows_of_each_label_and_band_with_their_objects() -> None:
    outcomes: dict[int, Outcome] = {
        number: classification({"cat": number / 100, "dog": 0.05}) for number in range(100)
    }
    samples = sampled(7, outcomes)
    bands = samples.scored[LABEL_SET]["cat"]
    assert [len(band) for band in bands] == [PER_BAND] * BANDS
    for place, band in enumerate(bands):
        assert all(place / BANDS <= each.score < (place + 1) / BANDS for each in band)
        assert all(samples.objects[each.row].key == f"{each.row}.jpg" for each in band)
    assert [len(band) for band in samples.scored[LABEL_SET]["dog"]] == [PER_BAND, 0, 0, 0, 0]
    # The object that was read, whatever version the plan named.
    assert {each.etag for each in samples.objects.values()} == {"e"}


def test_a_score_of_one_is_in_the_highest_band() -> None:
    samples = sampled(0, {0: classification({"cat": 1.0})})
    assert len(samples.scored[LABEL_SET]["cat"][BANDS - 1]) == 1


def test_failed_rows_are_kept_by_code_with_short_messages() -> None:
    outcomes: dict[int, Outcome] = {
        number: DeadLetter("fetch.not_found", "x" * 10_000, 1) for number in range(50)
    }
    outcomes[50] = DeadLetter("decode.corrupt", "bad", 1)
    samples = sampled(0, outcomes)
    assert {code: len(rows) for code, rows in samples.failed.items()} == {
        "decode.corrupt": 1,
        "fetch.not_found": PER_CODE,
    }
    assert all(len(each.message) == LONGEST_MESSAGE for each in samples.failed["fetch.not_found"])
    assert samples.objects[50].etag == "planned"


def test_skipped_rows_are_no_samples() -> None:
    assert sampled(0, {0: None}) == Samples()


@given(seed=st.integers(0, 10**6))
def test_samples_do_not_depend_on_the_order_of_the_rows(seed: int) -> None:
    outcomes: dict[int, Outcome] = {
        number: classification({"cat": number % 10 / 10}) for number in range(60)
    }
    order = list(outcomes)
    random.Random(seed).shuffle(order)
    assert sampled(3, outcomes, order) == sampled(3, outcomes)


def test_the_samples_of_a_job_are_those_of_all_its_rows_in_whatever_order_shards_come() -> None:
    outcomes: dict[int, Outcome] = {number: classification({"cat": 0.5}) for number in range(40)}
    shards = {shard: sampled(shard, outcomes) for shard in range(5)}
    expected = sorted((lot(shard, each), shard, each) for shard in shards for each in outcomes)
    for order in (list(shards), list(reversed(shards))):
        job = JobSamples()
        for shard in order:
            job.add(shard, shards[shard])
        found = [(each.shard, each.row) for each in job.scored(LABEL_SET, "cat", 2)]
        assert found == [(shard, each) for _, shard, each in expected[:PER_BAND]]


def test_each_row_of_a_job_is_as_likely_as_any_other() -> None:
    """Over many shards, rows from the front are not kept more often than those from the back."""
    kept = Counter(
        each
        for shard in range(400)
        for each in sorted(range(10), key=lambda number: lot(shard, number))[:3]
    )
    # 120 expected each, with a standard deviation of 9.2.
    assert all(80 < kept[number] < 160 for number in range(10))


def test_rows_that_are_erased_are_no_samples_any_more() -> None:
    outcomes: dict[int, Outcome] = {
        0: classification({"cat": 0.9}),
        1: classification({"cat": 0.95}),
        2: DeadLetter("fetch.not_found", "gone", 1),
    }
    left = sampled(0, outcomes).without({0, 2})
    assert list(left.objects) == [1]
    assert [each.row for each in left.scored[LABEL_SET]["cat"][BANDS - 1]] == [1]
    assert left.failed == {"fetch.not_found": ()}


def test_samples_are_read_as_they_were_written() -> None:
    outcomes: dict[int, Outcome] = {
        0: classification({"cat": 0.9}),
        1: DeadLetter("fetch.not_found", "gone", 1),
    }
    samples = sampled(0, outcomes)
    assert Samples.of_bytes(samples.as_bytes(), "x") == samples


@given(st.integers(0, 999_999), st.lists(st.integers(0, 2**31 - 1), max_size=20))
def test_numbers_of_many_rows_are_those_of_each(shard: int, rows: list[int]) -> None:
    assert lots(shard, rows).tolist() == [lot(shard, row) for row in rows]
