"""Exact probabilities of the binomial distribution."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt


def at_least(hits: int, of: int, share: float) -> float:
    """The probability of ``hits`` or more among ``of`` independent trials that each succeed with
    the probability ``share``, above 0 and below 1. Takes time in proportion to ``of``."""
    if hits <= 0:
        return 1.0
    if hits > of:
        return 0.0
    logs = _log_factorials(1 << of.bit_length())
    counts = np.arange(hits, of + 1)
    terms = logs[of] - logs[counts] - logs[of - counts]
    terms += counts * math.log(share) + (of - counts) * math.log1p(-share)
    most = terms.max()
    return min(1.0, float(np.exp(most) * np.exp(terms - most).sum()))


@lru_cache(maxsize=4)
def _log_factorials(size: int) -> npt.NDArray[np.float64]:
    """The logarithms of the factorials of 0, 1, … up to ``size``."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, size + 1)))))
