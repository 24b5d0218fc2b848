"""Turns a label's score into a probability: of the images with 0.9, some 90 % show the label.

- Platt: ``1 / (1 + exp(-(slope * x + intercept)))``, where ``x = ln(score / (1 - score))``. A slope
  of 1 and an intercept of 0 change nothing (Platt 1999, on the log-odds of the score).
- Isotonic: straight lines between knots of a score and its probability. Outside of the knots, it is
  the probability of the nearest one (Zadrozny and Elkan 2002).

Neither falls as the score rises. So images keep their order, and every threshold of a probability
is a threshold of the score: thresholds and decisions are about the score alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.labels.learnt.logistic import Float64s, log_odds, sigmoid


@dataclass(frozen=True, slots=True)
class Platt:
    """``slope`` is above 0. ``sample`` is the digest of the labelled images it was learnt from."""

    slope: float
    intercept: float
    sample: str


@dataclass(frozen=True, slots=True)
class Isotonic:
    """``knots`` are scores with their probabilities. Scores rise, probabilities do not fall.
    ``sample`` is the digest of the labelled images they were learnt from."""

    knots: tuple[tuple[float, float], ...]
    sample: str


Calibration = Platt | Isotonic


class Calibrations:
    """Those of a label set's labels, ready to be applied to one image or to many."""

    def __init__(self, calibrations: Sequence[Calibration | None]) -> None:
        """``calibrations`` are in the labels' order, None for a label that has none."""
        platt = {at: each for at, each in enumerate(calibrations) if isinstance(each, Platt)}
        self._places = np.array([*platt], np.intp)
        self._slopes = np.array([each.slope for each in platt.values()])
        self._intercepts = np.array([each.intercept for each in platt.values()])
        self._isotonic = [
            (at, *np.array(each.knots).T)
            for at, each in enumerate(calibrations)
            if isinstance(each, Isotonic)
        ]

    def probabilities(self, scores: Float64s) -> Float64s:
        """The probabilities for ``scores`` [..., labels], of the same shape. NaN for a label
        without calibration."""
        found = np.full(scores.shape, np.nan)
        if len(self._places):
            odds = log_odds(scores[..., self._places])
            found[..., self._places] = sigmoid(self._slopes * odds + self._intercepts)
        for at, knots, values in self._isotonic:
            found[..., at] = np.interp(scores[..., at], knots, values)
        return found
