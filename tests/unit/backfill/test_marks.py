"""Marks: what of a lane is published, as text beside an offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.backfill.marks import LANES, MAX_MARK_BYTES, Mark, lane_of

shards = st.sets(st.integers(0, 200).map(lambda each: each * LANES + 3), max_size=60)
marks = st.builds(
    Mark,
    shards.map(frozenset),
    st.none() | st.integers(0, 10**6),
    st.just(0),
) | st.builds(Mark, shards.map(frozenset), st.integers(0, 10**6), st.integers(1, 10**5))


@given(marks)
def test_a_mark_reads_back_as_it_was_written(mark: Mark) -> None:
    assert Mark.parse(str(mark)) == mark


def test_the_text_of_a_mark_never_changes_between_releases() -> None:
    mark = Mark(frozenset({3, 19, 35, 67}), 83, 4000)
    assert str(mark) == "3-35,67 83@4000"
    assert LANES == 16
    assert [lane_of(shard) for shard in (0, 15, 16, 35)] == [0, 15, 0, 3]


@pytest.mark.parametrize("written", ["a", "3-", "3,", "3 4", "3 4@", "-3", "3@4", " x@1"])
def test_what_is_no_mark_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no mark"):
        Mark.parse(written)


def test_the_lowest_committed_shard_is_next_and_gaps_are_filled_later() -> None:
    mark = Mark()
    assert mark.next(set()) is None
    assert mark.next({32, 16}) == 16
    mark = mark.after(16).after(32)
    assert mark.next({0, 16, 32, 48}) == 0
    assert mark.next({16, 32}) is None


def test_a_shard_that_is_begun_is_ended_first() -> None:
    mark = Mark(frozenset({16})).within(32, 5)
    assert mark.next({0, 16, 32}) == 32
    assert mark.after(32) == Mark(frozenset({16, 32}))


def test_a_mark_with_too_many_gaps_waits_for_them_to_close() -> None:
    mark = Mark(frozenset(range(0, 2 * LANES * 800, 2 * LANES)))
    assert len(str(mark)) > MAX_MARK_BYTES
    assert mark.next({10**6 * LANES}) is None
    some = Mark(frozenset(range(0, 2 * LANES * 400, 2 * LANES)))
    assert some.next({10**4 * LANES}) == 10**4 * LANES


@given(marks, marks)
def test_a_mark_covers_another_only_if_it_says_all_of_it(one: Mark, other: Mark) -> None:
    assert one.covers(one)
    assert one.covers(Mark())
    if one.covers(other):
        assert other.shards <= one.shards
    begun = Mark(begun=3, row=5)
    assert Mark(begun=3, row=6).covers(begun)
    assert Mark(frozenset({3})).covers(begun)
    assert not Mark(begun=3, row=4).covers(begun)
    assert not Mark(begun=19, row=9).covers(begun)
