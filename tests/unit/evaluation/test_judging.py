"""Counts, curves and averages equal scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from pipeline.evaluation.binomial import at_least
from pipeline.evaluation.judging import Counts, confusions, judge, worst
from pipeline.evaluation.ranking import average_precision, bootstrap_weights, curve
from pipeline.evaluation.reliability import calibration_error, reliability
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.share import Share

IMAGES = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60)
"""Scores in twentieths, so that many are equal, and truths."""


def arrays(images: list[tuple[int, bool]]) -> tuple[Scores, Truth]:
    return (
        np.array([score / 20 for score, _ in images]),
        np.array([true for _, true in images], dtype=np.bool_),
    )


@settings(max_examples=40)
@given(IMAGES, st.integers(0, 20))
def test_precision_recall_and_f1_are_scikit_learns(
    images: list[tuple[int, bool]], twentieths: int
) -> None:
    scores, truth = arrays(images)
    counts = judge(scores, truth, twentieths / 20)
    matched = scores >= twentieths / 20
    if matched.any():
        assert counts.precision.value == pytest.approx(precision_score(truth, matched))
    if truth.any():
        assert counts.recall.value == pytest.approx(recall_score(truth, matched))
        assert counts.f1.value == pytest.approx(f1_score(truth, matched))


@settings(max_examples=40)
@given(IMAGES)
def test_average_precision_is_scikit_learns(images: list[tuple[int, bool]]) -> None:
    scores, truth = arrays(images)
    found = average_precision(scores, truth)
    if truth.any():
        assert found.value == pytest.approx(average_precision_score(truth, scores))
    else:
        assert found.value is None


@settings(max_examples=40)
@given(IMAGES)
def test_a_bootstrap_sample_is_as_its_images_written_out(images: list[tuple[int, bool]]) -> None:
    scores, truth = arrays(images)
    weights = bootstrap_weights(len(scores), seed=3)[:1]
    times = weights[0]
    if truth.any() and truth[times > 0].any():
        drawn = average_precision(scores, truth, weights)
        written = average_precision_score(np.repeat(truth, times), np.repeat(scores, times))
        assert drawn.low == drawn.high == pytest.approx(written)


@given(IMAGES)
def test_a_point_of_the_curve_is_what_its_threshold_does(images: list[tuple[int, bool]]) -> None:
    scores, truth = arrays(images)
    if not truth.any():
        return
    found = curve(scores, truth)
    assert found.thresholds.tolist() == sorted({*scores.tolist()}, reverse=True)
    for place, threshold in enumerate(found.thresholds.tolist()):
        counts = judge(scores, truth, threshold)
        assert found.precision[place] == pytest.approx(counts.precision.value)
        assert found.recall[place] == pytest.approx(counts.recall.value)
        assert found.matched[place] == counts.found + counts.false_alarms


def test_the_interval_of_an_average_is_the_same_each_time_and_narrows_with_images() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for count in (50, 800):
        truth = rng.random(count) < 0.3
        scores = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
        weights = bootstrap_weights(count, seed=0)
        found = average_precision(scores, truth, weights)
        assert found == average_precision(scores, truth, bootstrap_weights(count, seed=0))
        assert found.low is not None
        assert found.value is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_an_f1_of_all_right_is_not_certain() -> None:
    found = Counts(found=20, false_alarms=0, missed=0, passed=80).f1
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.912, abs=0.001)


def test_nothing_is_known_of_a_label_that_no_image_shows_or_matches() -> None:
    counts = Counts(found=0, false_alarms=0, missed=0, passed=5)
    assert counts.precision.value is counts.recall.value is counts.f1.value is None


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (3, 10), (10, 10), (59, 60), (900, 1_000)])
def test_a_share_has_wilsons_interval(hits: int, of: int) -> None:
    expected = binomtest(hits, of).proportion_ci(method="wilson")
    assert Share(hits, of).low == pytest.approx(expected.low, abs=1e-6)
    assert Share(hits, of).high == pytest.approx(expected.high, abs=1e-6)


@given(st.integers(1, 400), st.data(), st.floats(0.01, 0.99))
def test_binomial_tails_are_scipys(of: int, data: st.DataObject, share: float) -> None:
    hits = data.draw(st.integers(-1, of + 1))
    assert at_least(hits, of, share) == pytest.approx(binom.sf(hits - 1, of, share), abs=1e-10)


def test_confusions_are_scikit_learns() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(4, size=200)
    scores = rng.random((200, 4))
    expected = confusion_matrix(truth, scores.argmax(axis=1), labels=range(4))
    assert confusions(scores, np.eye(4, dtype=np.bool_)[truth]).tolist() == expected.tolist()


def test_images_with_no_label_or_with_several_are_in_no_confusion() -> None:
    truth = np.array([[True, True], [False, False], [False, True]])
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]])
    assert confusions(scores, truth).tolist() == [[0, 0], [1, 0]]


def test_the_worst_mistakes_come_first() -> None:
    scores = np.array([0.9, 0.6, 0.95, 0.1, 0.4])
    truth = np.array([False, False, True, True, True])
    found = worst(scores, truth, 0.5, most=2)
    assert found.false_alarms == (0, 1)
    assert found.missed == (3, 4)


def test_scores_that_are_frequencies_have_no_calibration_error() -> None:
    scores = np.repeat([0.25, 0.75], 100)
    truth = np.concatenate([np.arange(100) < 25, np.arange(100) < 75])
    bins = reliability(scores, truth)
    assert [(each.mean_score, each.share) for each in bins] == [
        (0.25, Share(25, 100)),
        (0.75, Share(75, 100)),
    ]
    assert calibration_error(bins) == pytest.approx(0)
    assert calibration_error(reliability(scores, ~truth)) == pytest.approx(0.5)
