"""Gaps between groups: their intervals tell the truth, and thresholds give the rates they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.grouping import (
    FEW_IMAGES,
    difference,
    divided,
    largest_gap,
    threshold_of_false_positives,
    threshold_of_recall,
)
from pipeline.evaluation.judging import judge
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.share import Share

GROUP = st.binary(min_size=40, max_size=120)
"""A byte for each image. One value for a whole group takes Hypothesis far less time than two for
each image."""


def arrays(images: bytes) -> tuple[Scores, Truth]:
    """Scores in twentieths, so that many are equal, and truths."""
    drawn = np.frombuffer(images, np.uint8)
    return drawn // 2 % 21 / 20, drawn % 2 == 1


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_a_difference_has_newcombes_interval(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """The examples of Newcombe 1998, table II, method 10."""
    found = difference(Share(*one), Share(*other))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


SHARE = st.integers(1, 200).flatmap(lambda of: st.builds(Share, st.integers(0, of), st.just(of)))


@given(SHARE, SHARE, st.floats(0.001, 0.5))
def test_the_interval_of_a_difference_holds_it_and_turns_with_it(
    one: Share, other: Share, error: float
) -> None:
    found, turned = difference(one, other, error), difference(other, one, error)
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert turned.low == pytest.approx(-found.high)
    assert turned.high == pytest.approx(-found.low)


@pytest.mark.parametrize("groups", [2, 7, 20])
def test_groups_that_do_not_differ_rarely_seem_to(groups: int) -> None:
    """95 of 100 samples of equal groups show no gap, however many pairs there are to pick from."""
    rng = np.random.default_rng(groups)
    wrong = 0
    for hits in rng.binomial(100, 0.2, size=(1_000, groups)).tolist():
        gap = largest_gap({str(place): Share(each, 100) for place, each in enumerate(hits)})
        assert gap is not None
        wrong += gap.sure
    assert wrong <= 50


def test_a_gap_that_is_there_is_found() -> None:
    shares = {"a": Share(20, 200), "b": Share(24, 200), "c": Share(60, 200)}
    gap = largest_gap(shares)
    assert gap is not None
    assert (gap.low, gap.high, gap.sure) == ("a", "c", True)
    assert gap.difference.value == pytest.approx(0.2)


def test_more_groups_need_more_evidence() -> None:
    pair = {"a": Share(10, 100), "b": Share(23, 100)}
    many = pair | {str(place): Share(16, 100) for place in range(10)}
    two, twelve = largest_gap(pair), largest_gap(many)
    assert two is not None
    assert twelve is not None
    assert two.difference.value == twelve.difference.value
    assert two.sure
    assert not twelve.sure


def test_a_group_of_few_images_is_in_no_comparison() -> None:
    few = Share(FEW_IMAGES - 1, FEW_IMAGES - 1)
    shares = {"a": Share(10, 100), "b": Share(30, 100), "few": few, "none": Share(0, 0)}
    gap = largest_gap(shares)
    assert gap is not None
    assert gap.high == "b"
    assert largest_gap({"a": Share(10, 100), "few": few}) is None


def test_images_without_a_value_are_in_no_group() -> None:
    groups = divided(["b", None, "a", "b"])
    assert {name: places.tolist() for name, places in groups.items()} == {"a": [2], "b": [0, 3]}
    assert list(groups) == ["a", "b"]
    assert divided([None]) == {}


@given(GROUP, SHARE)
def test_a_threshold_of_a_recall_is_the_highest_that_reaches_it(
    images: bytes, wanted: Share
) -> None:
    scores, truth = arrays(images)
    threshold = threshold_of_recall(scores, truth, wanted)
    if truth.sum() < FEW_IMAGES or not wanted.hits:
        assert threshold is None
        return
    assert threshold is not None
    found = judge(scores, truth, threshold).recall
    assert found.hits * wanted.of >= wanted.hits * found.of
    # The lowest score that matches shows the label, and the recall would not be reached without it.
    lowest = float(scores[scores >= threshold].min())
    without = judge(scores, truth, float(np.nextafter(lowest, 2))).recall
    assert without.hits * wanted.of < wanted.hits * without.of


@given(GROUP, SHARE)
def test_a_threshold_of_false_positives_is_the_lowest_that_allows_no_more(
    images: bytes, wanted: Share
) -> None:
    scores, truth = arrays(images)
    threshold = threshold_of_false_positives(scores, truth, wanted)
    if (~truth).sum() < FEW_IMAGES:
        assert threshold is None
        return
    if threshold is None:
        # The next lower threshold is the highest score of all: too many match even there.
        found = judge(scores, truth, 1.0).false_positive_rate
        assert found.hits * wanted.of > wanted.hits * found.of
        return
    found = judge(scores, truth, threshold).false_positive_rate
    assert found.hits * wanted.of <= wanted.hits * found.of
    lower = scores[scores < threshold]
    if len(lower):
        more = judge(scores, truth, float(lower.max())).false_positive_rate
        assert more.hits * wanted.of > wanted.hits * more.of
