"""The functions that turn numbers into probabilities, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]

LEAST_SCORE = 1e-12
"""Scores are limited to this distance from 0 and 1, so that their log-odds are finite."""


def softmax(logits: Float64s) -> Float64s:
    """Probabilities of exclusive classes, along the last axis. Finite for finite logits."""
    exponentials: Float64s = np.exp(logits - logits.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def sigmoid(logits: Float64s) -> Float64s:
    """Probability of the first of two classes from their difference. Finite for finite logits."""
    scores: Float64s = np.exp(-np.logaddexp(0.0, -logits))
    return scores


def log_odds(scores: Float64s) -> Float64s:
    """``ln(score / (1 - score))``, of scores limited to ``LEAST_SCORE`` from 0 and 1."""
    limited = np.minimum(np.maximum(scores, LEAST_SCORE), 1 - LEAST_SCORE)
    odds: Float64s = np.log(limited / (1 - limited))
    return odds
