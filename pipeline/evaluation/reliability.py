"""Whether scores are probabilities: of the images that score 0.9, do 90 % show the label?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.judging import BOUNDS, NOTHING_KNOWN, Interval
from pipeline.evaluation.ranking import Weights
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.share import Share

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose scores lie in one tenth of the scale: their mean score, and how many of them
    show the label."""

    mean_score: float
    share: Share


def reliability(scores: Scores, truth: Truth) -> tuple[Bin, ...]:
    """Bins of equal width for one label, without those that hold no image."""
    places = np.minimum((scores * BINS).astype(np.intp), BINS - 1)
    return tuple(
        Bin(float(scores[inside].mean()), Share(int(truth[inside].sum()), int(inside.sum())))
        for inside in (places == place for place in range(BINS))
        if inside.any()
    )


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """The mean gap between score and frequency, 0 to 1: the expected calibration error of Guo et
    al. 2017 (https://arxiv.org/abs/1706.04599), for the label's own score."""
    images = sum(each.share.of for each in bins)
    gaps = sum(abs(each.mean_score * each.share.of - each.share.hits) for each in bins)
    return gaps / images if images else 0.0


def squared_errors(scores: Scores, truth: Truth) -> Scores:
    """The squared distance of each image's score from the truth, 0 or 1. Their mean is the Brier
    score (Brier 1950): 0 is best."""
    errors: Scores = np.square(scores - truth)
    return errors


def mean_of(values: Scores, weights: Weights) -> Interval:
    """The mean over images with its 95 % interval: the percentile bootstrap's, with the weights of
    ``ranking.bootstrap_weights``."""
    if not len(values):
        return NOTHING_KNOWN
    low, high = np.percentile(weights @ values / len(values), BOUNDS).tolist()
    return Interval(float(values.mean()), low, high)
