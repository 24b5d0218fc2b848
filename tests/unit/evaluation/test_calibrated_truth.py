"""Calibrated probabilities tell the truth on populations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from pipeline.adapters.samples.fitting import fit_isotonic, fit_platt
from pipeline.evaluation.ranking import bootstrap_weights
from pipeline.evaluation.reliability import (
    calibration_error,
    mean_of,
    reliability,
    squared_errors,
)
from pipeline.evaluation.sample import Scores, Truth
from pipeline.labels.learnt.calibration import Calibration, Calibrations
from workers.commands.labels.learning.calibrating import Method

REPETITIONS = 20
UNSEEN = 20_000
FITS = {Method.PLATT: fit_platt, Method.ISOTONIC: fit_isotonic}


def population(rng: np.random.Generator, images: int, method: Method) -> tuple[Scores, Truth]:
    """Images of whose scores nobody may take the value for a probability. The odds of the truth are
    a power of the score's odds, which Platt assumes, or the truth rises in two steps."""
    scores = 1 / (1 + np.exp(-rng.normal(-1.0, 3.0, images)))
    if method is Method.PLATT:
        true = 1 / (1 + np.exp(-(0.5 * np.log(scores / (1 - scores)) - 1.0)))
    else:
        true = 0.05 + 0.35 * (scores > 0.3) + 0.5 * (scores > 0.8)
    return scores, rng.random(images) < true


def applied(calibration: Calibration | None, scores: Scores) -> Scores:
    assert calibration is not None
    return Calibrations([calibration]).probabilities(scores[:, np.newaxis])[:, 0]


@pytest.mark.parametrize("method", Method)
def test_of_the_images_with_a_probability_so_many_show_the_label(method: Method) -> None:
    scores, truth = population(np.random.default_rng(1), UNSEEN, method)
    assert calibration_error(reliability(scores, truth)) > 0.08
    for repetition in range(REPETITIONS):
        sample = population(np.random.default_rng((3, repetition)), 3_000, method)
        probabilities = applied(FITS[method](*sample, "sha256:1"), scores)
        # A sample of 3,000 leaves an error of about 1 / sqrt(300) in a tenth of the scale.
        assert calibration_error(reliability(probabilities, truth)) < 0.04


def test_the_interval_of_the_brier_score_holds_the_truth() -> None:
    """In 95 of 100 repetitions; a true 95 % leaves that to chance, so 88 are asked for."""
    scores, truth = population(np.random.default_rng(1), UNSEEN, Method.PLATT)
    everywhere = float(squared_errors(scores, truth).mean())
    # Weights are drawn without regard to the images, so the same ones serve each sample.
    weights = bootstrap_weights(400, 0)
    held = 0
    for repetition in range(100):
        sample = population(np.random.default_rng((5, repetition)), 400, Method.PLATT)
        found = mean_of(squared_errors(*sample), weights)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= everywhere <= found.high
    assert 88 <= held < 100


def test_the_brier_score_is_scikit_learns() -> None:
    scores, truth = population(np.random.default_rng(1), 500, Method.PLATT)
    found = mean_of(squared_errors(scores, truth), bootstrap_weights(500, 0))
    assert found.value == pytest.approx(brier_score_loss(truth, scores))


def test_platts_numbers_are_those_of_the_population() -> None:
    found = fit_platt(*population(np.random.default_rng(1), 50_000, Method.PLATT), "sha256:1")
    assert found is not None
    assert [found.slope, found.intercept] == pytest.approx([0.5, -1.0], rel=0.05)


def test_scores_that_separate_the_images_make_a_finite_curve() -> None:
    scores = np.array([0.1] * 30 + [0.9] * 30)
    found = fit_platt(scores, scores > 0.5, "sha256:1")
    assert applied(found, scores)[[0, -1]] == pytest.approx([1 / 32, 31 / 32], abs=1e-4)


def test_scores_that_mislead_teach_nothing() -> None:
    scores = np.linspace(0.1, 0.9, 200)
    assert fit_platt(scores, scores < 0.5, "sha256:1") is None
    assert fit_isotonic(scores, scores < 0.5, "sha256:1") is None
    assert fit_platt(np.full(200, 0.5), scores < 0.5, "sha256:1") is None
