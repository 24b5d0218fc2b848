"""Compares rates between groups of images: between ages, languages, regions.

A gap of a few images is chance. So a gap comes with the interval of the difference, and the
interval allows for the choice of the largest of all pairs of groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.judging import Interval
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.share import Share, wilson
from pipeline.evaluation.tuning import between

Places = npt.NDArray[np.intp]

FEW_IMAGES = 30
"""A rate of fewer images is in no comparison. At 30, its interval is up to 34 points wide."""
_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference of one rate between two groups: that of ``high`` minus that of
    ``low``. The interval holds the differences of all pairs of groups together with a probability
    of 95 %: if it does not reach 0, the groups differ."""

    low: str
    high: str
    difference: Interval

    @property
    def sure(self) -> bool:
        return self.difference.low is not None and self.difference.low > 0


def divided(names: Sequence[str | None]) -> dict[str, Places]:
    """The places of each group's images, by the group's name in alphabetical order. ``names`` is
    the group of each image; None belongs to no group."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name is not None:
            groups.setdefault(name, []).append(place)
    return {name: np.array(groups[name], np.intp) for name in sorted(groups)}


def largest_gap(shares: Mapping[str, Share]) -> Gap | None:
    """The gap between the highest and the lowest share, or None with fewer than two groups.

    Groups whose share is of fewer than ``FEW_IMAGES`` are left out. Each of the pairs has its part
    of the allowed error (Bonferroni), so that it does not matter which one is picked afterwards.
    """
    enough = {name: share for name, share in shares.items() if share.of >= FEW_IMAGES}
    if len(enough) < 2:
        return None
    order = sorted(enough, key=lambda name: enough[name].hits / enough[name].of)
    low, high = order[0], order[-1]
    pairs = math.comb(len(enough), 2)
    return Gap(low, high, difference(enough[high], enough[low], _ERROR / pairs))


def difference(one: Share, other: Share, error: float = _ERROR) -> Interval:
    """``one`` minus ``other``, two independent shares of at least one image each, with the interval
    that misses the true difference with about the probability ``error``.

    The hybrid score interval, method 10 of Newcombe 1998
    (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I).
    """
    z = NormalDist().inv_cdf(1 - error / 2)
    share, below = one.hits / one.of, other.hits / other.of
    one_low, one_high = wilson(one.hits, one.of, z)
    other_low, other_high = wilson(other.hits, other.of, z)
    value = share - below
    return Interval(
        value,
        max(-1.0, value - math.hypot(share - one_low, other_high - below)),
        min(1.0, value + math.hypot(one_high - share, below - other_low)),
    )


def threshold_of_recall(scores: Scores, truth: Truth, wanted: Share) -> float | None:
    """The highest threshold at which a group's recall is at least ``wanted``, or None if the group
    has fewer than ``FEW_IMAGES`` that show the label.

    ``scores`` and ``truth`` are [images] of the group.
    """
    positives = np.sort(scores[truth])[::-1]
    if len(positives) < FEW_IMAGES or not wanted.hits:
        return None
    # Whole numbers: a quotient of floats may lie a bit above the whole number that it should be.
    needed = -(-wanted.hits * len(positives) // wanted.of)
    return _just_at(float(positives[needed - 1]), scores)


def threshold_of_false_positives(scores: Scores, truth: Truth, wanted: Share) -> float | None:
    """The lowest threshold at which a group's false positive rate is at most ``wanted``, or None if
    the group has fewer than ``FEW_IMAGES`` that do not show the label, or if there is none.

    ``scores`` and ``truth`` are [images] of the group.
    """
    negatives = np.sort(scores[~truth])[::-1]
    if len(negatives) < FEW_IMAGES:
        return None
    allowed = wanted.hits * len(negatives) // wanted.of
    if allowed == len(negatives):
        return _just_at(float(scores.min()), scores)
    above = scores[scores > negatives[allowed]]
    refused = float(negatives[allowed])
    if len(above):
        return between(refused, float(above.min()))
    return between(refused, 1.0) if refused < 1.0 else None


def _just_at(score: float, scores: Scores) -> float:
    """A threshold that the images of this score reach, and those of the next lower score do not."""
    lower = scores[scores < score]
    return between(float(lower.max()) if len(lower) else 0.0, score)
