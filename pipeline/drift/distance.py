"""How far two distributions are apart: the population stability index of counts in bins.

``PSI = Σ (a_i - e_i) · ln(a_i / e_i)`` over the bins, with the share ``e_i`` of the reference and
the share ``a_i`` of now. It is the sum of both Kullback-Leibler divergences. Half an image is added
to each bin of now, so that an empty bin does not make it infinite. Bins of a reference are never
empty.

Two samples of one distribution have a PSI above 0, too: ``(bins - 1) · (1/n + 1/m)`` on average for
``n`` and ``m`` images, because it is close to ``1/n + 1/m`` times a chi-square statistic with
``bins - 1`` degrees of freedom. ``excess`` is what is beyond that.
``monitoring/rules/workers.yaml`` computes the same from the counters of all workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BINS = 10
"""Most bins of a label. Each has about as many images of the reference."""
ADDED = 0.5

Counts = Sequence[int] | npt.NDArray[np.integer]


def edges_of(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The edges of at most ``BINS`` bins, none of them empty. Equal scores share a bin."""
    shares = np.arange(1, BINS) / BINS
    edges: npt.NDArray[np.float64] = np.unique(np.quantile(scores, shares, method="higher"))
    above: npt.NDArray[np.float64] = edges[edges > scores.min()]
    return above


def counted(
    scores: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """How many scores lie in each bin. An edge belongs to the bin above."""
    return np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1)


def psi(reference: Counts, now: Counts) -> float:
    """The population stability index of counts in the same bins."""
    expected = np.asarray(reference) / np.sum(reference)
    added = np.asarray(now) + ADDED
    actual = added / added.sum()
    return float(((actual - expected) * np.log(actual / expected)).sum())


def by_chance(reference: Counts, now: Counts) -> float:
    """The mean PSI of two samples of one distribution. ``now`` has an image."""
    return float((len(reference) - 1) * (1 / np.sum(reference) + 1 / np.sum(now)))


def excess(reference: Counts, now: Counts) -> float:
    """The PSI beyond what chance makes of so many images. Below 0 for what is very alike."""
    return psi(reference, now) - by_chance(reference, now)
