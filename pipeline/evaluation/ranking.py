"""How well the scores of one label rank images, at all thresholds together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.judging import BOUNDS, NOTHING_KNOWN, Interval
from pipeline.evaluation.sample import Scores, Truth

Weights = npt.NDArray[np.int64]

_LEAST_DRAWS, _MOST_DRAWS = 200, 1_000
_WEIGHTS = 4_000_000
"""Images times draws up to which the most draws are taken."""


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


def bootstrap_weights(images: int, seed: int) -> Weights:
    """How often each image is in each bootstrap sample: [draws, images]. The same weights serve
    every label."""
    draws = int(np.clip(_WEIGHTS // max(images, 1), _LEAST_DRAWS, _MOST_DRAWS))
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=draws)


def average_precision(scores: Scores, truth: Truth, weights: Weights | None = None) -> Interval:
    """The mean of the precision at the score of each image that shows the label.

    This is the sum over the precision-recall curve without interpolation, as scikit-learn's
    ``average_precision_score`` has it. With ``weights`` from ``bootstrap_weights``, the interval is
    the percentile bootstrap's; without, its bounds are None.
    """
    if not truth.any():
        return NOTHING_KNOWN
    order = np.argsort(-scores, kind="stable")
    ranked, true = scores[order], truth[order]
    # Images of equal scores are all matched, or none of them.
    ends = np.searchsorted(-ranked, -ranked, side="right") - 1
    value = _mean_precision(np.ones((1, len(ranked)), np.int64), true, ends)[0]
    if weights is None:
        return Interval(float(value), None, None)
    drawn = _mean_precision(weights[:, order], true, ends)
    low, high = np.percentile(drawn[np.isfinite(drawn)], BOUNDS).tolist()
    return Interval(float(value), low, high)


def _mean_precision(weights: Weights, true: Truth, ends: npt.NDArray[np.intp]) -> Scores:
    """[draws]; NaN for a draw without an image that shows the label."""
    found = np.cumsum(weights * true, axis=1)[:, ends]
    matched = np.cumsum(weights, axis=1)[:, ends]
    precision = found / np.maximum(matched, 1)
    positives = (weights * true).sum(axis=1)
    sums = (precision * weights * true).sum(axis=1)
    means: Scores = np.divide(sums, positives, out=np.full(len(sums), np.nan), where=positives > 0)
    return means
