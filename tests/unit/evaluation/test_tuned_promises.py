"""Tuned thresholds keep their promise on populations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.tuning import Aim, Goal, choose

REPETITIONS = 100
UNSEEN = 200_000


def population(
    rng: np.random.Generator, images: int, positives: float, apart: float
) -> tuple[Scores, Truth]:
    """Images whose logits are normal, ``apart`` standard deviations apart by truth."""
    truth = rng.random(images) < positives
    logits = rng.normal(np.where(truth, apart, 0.0), 1.0)
    return 1 / (1 + np.exp(-2 * (logits - apart / 2))), truth


@pytest.mark.parametrize(
    ("images", "positives", "apart", "wanted"),
    [(3_000, 0.2, 3.0, 0.95), (1_500, 0.4, 2.5, 0.9), (6_000, 0.1, 3.5, 0.9)],
)
def test_the_wanted_precision_is_reached_in_95_of_100_repetitions(
    images: int, positives: float, apart: float, wanted: float
) -> None:
    unseen, true = population(np.random.default_rng(1), UNSEEN, positives, apart)
    reached = 0
    for repetition in range(REPETITIONS):
        sample = population(np.random.default_rng((7, repetition)), images, positives, apart)
        threshold = choose(Goal(Aim.PRECISION, wanted), *sample)
        # A rule that finds no threshold would keep every promise.
        reached += threshold is not None and true[unseen >= threshold].mean() >= wanted
    assert reached >= 95


@pytest.mark.parametrize("wanted", [0.8, 0.95])
def test_the_wanted_recall_is_reached_in_95_of_100_repetitions(wanted: float) -> None:
    unseen, true = population(np.random.default_rng(1), UNSEEN, 0.2, 3.0)
    reached = 0
    for repetition in range(REPETITIONS):
        sample = population(np.random.default_rng((9, repetition)), 1_000, 0.2, 3.0)
        threshold = choose(Goal(Aim.RECALL, wanted), *sample)
        reached += threshold is not None and (unseen[true] >= threshold).mean() >= wanted
    assert reached >= 95
