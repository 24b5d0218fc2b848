"""How well the scores of one label rank images, at all thresholds together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.judging import BOUNDS, NOTHING_KNOWN, Interval
from pipeline.evaluation.sample import Scores, Truth

Weights = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

_LEAST_DRAWS, _MOST_DRAWS = 200, 1_000
SEED = 0
"""Of the bootstrap: the same sample has the same intervals each time."""
_WEIGHTS = 4_000_000
"""Images times draws up to which the most draws are taken."""
_AT_ONCE = 1_000_000
"""Images times draws that are computed at a time: some 40 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Precision and recall at each threshold that differs, float64 [thresholds], the highest
    threshold first. ``matched`` is the number of images at or above it."""

    thresholds: Scores
    precision: Scores
    recall: Scores
    matched: npt.NDArray[np.intp]


def curve(scores: Scores, truth: Truth) -> Curve:
    """The precision-recall curve of ``scores`` [images], of which ``truth`` [images] has some."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], [True] * bool(len(ranked))))
    found = np.cumsum(truth[order])[ends]
    return Curve(ranked[ends], found / (ends + 1), found / truth.sum(), ends + 1)


def bootstrap_weights(images: int, seed: int = SEED) -> Weights:
    """How often each image is in each bootstrap sample: [draws, images]. The same weights serve
    every label."""
    draws = int(np.clip(_WEIGHTS // max(images, 1), _LEAST_DRAWS, _MOST_DRAWS))
    rng = np.random.default_rng(seed)
    weights = np.empty((draws, images), np.uint8)
    for draw in weights:
        draw[:] = rng.multinomial(images, np.full(images, 1 / images))
    return weights


def average_precision(scores: Scores, truth: Truth, weights: Weights | None = None) -> Interval:
    """The mean of the precision at the score of each image that shows the label.

    This is the sum over the precision-recall curve without interpolation, as scikit-learn's
    ``average_precision_score`` has it. With ``weights`` from ``bootstrap_weights``, the interval is
    the percentile bootstrap's; without, its bounds are None.
    """
    if not truth.any():
        return NOTHING_KNOWN
    value, drawn = _drawn(scores, truth, weights)
    return Interval(value, *_bounds(drawn))


def gain(before: Scores, now: Scores, truth: Truth, weights: Weights) -> Interval:
    """How much higher the average precision of the scores ``now`` is than that of ``before``.

    The bootstrap is paired: each draw judges both by the same images. So what is hard or easy about
    the images is not in the interval.
    """
    if not truth.any():
        return NOTHING_KNOWN
    was, drawn_before = _drawn(before, truth, weights)
    is_now, drawn_now = _drawn(now, truth, weights)
    return Interval(is_now - was, *_bounds(drawn_now - drawn_before))


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of several ways to score images ranks them best. The first way is the one in use.

    ``chosen_on`` are the ways' average precisions on the images to choose on, and ``best`` is the
    way with the highest; of equal ones the first. ``before`` and ``after`` are the average
    precisions of the first and the best on other images, and ``gain`` is their difference. All
    three are as true as if the best way had been known before.
    """

    chosen_on: tuple[float, ...]
    best: int
    before: Interval
    after: Interval
    gain: Interval


def prefer(
    ways: Scores, truth: Truth, chosen_on: Places, held_out: Places, weights: Weights
) -> Preference:
    """Choose among ``ways`` [ways, images] on some images, and judge the choice on others.
    ``weights`` are those of ``bootstrap_weights`` for the images held out."""
    known = truth[chosen_on]
    found = tuple(average_precision(way, known).value or 0.0 for way in ways[:, chosen_on])
    best = found.index(max(found))
    before, after, shown = ways[0, held_out], ways[best, held_out], truth[held_out]
    return Preference(
        found,
        best,
        average_precision(before, shown, weights),
        average_precision(after, shown, weights),
        gain(before, after, shown, weights),
    )


def _drawn(scores: Scores, truth: Truth, weights: Weights | None) -> tuple[float, Scores]:
    """The average precision, and that of each draw: [draws]. ``truth`` has some."""
    order = np.argsort(-scores, kind="stable")
    ranked, true = scores[order], truth[order]
    shown = np.flatnonzero(true)
    # Images of equal scores are all matched, or none of them: counts are taken at the last one.
    ends = np.searchsorted(-ranked, -ranked[shown], side="right") - 1
    found = np.cumsum(true)[ends]
    value = float(np.mean(found / (ends + 1)))
    if weights is None:
        return value, np.empty(0)
    at_once = max(1, _AT_ONCE // len(ranked))
    drawn = [
        _mean_precision(weights[first : first + at_once, order], shown, ends, found - 1)
        for first in range(0, len(weights), at_once)
    ]
    return value, np.concatenate(drawn)


def _bounds(drawn: Scores) -> tuple[float | None, float | None]:
    """The interval of the draws in which some image shows the label; None without draws."""
    if not len(drawn):
        return None, None
    low, high = np.percentile(drawn[np.isfinite(drawn)], BOUNDS).tolist()
    return low, high


def _mean_precision(weights: Weights, shown: Places, ends: Places, last: Places) -> Scores:
    """The average precision of each draw, [draws]; NaN for one without an image that shows the
    label.

    ``weights`` are [draws, images] in the order of the scores. The images that show the label are
    at the places ``shown``. For each of them, ``ends`` is the place of the last image of its score,
    and ``last`` the number among ``shown`` of the last one up to there.
    """
    hits = weights[:, shown]
    found = np.cumsum(hits, axis=1, dtype=np.int32)
    matched = np.cumsum(weights, axis=1, dtype=np.int32)[:, ends]
    sums = (hits * found[:, last] / np.maximum(matched, 1)).sum(axis=1)
    positives = found[:, -1]
    means: Scores = np.divide(sums, positives, out=np.full(len(sums), np.nan), where=positives > 0)
    return means
