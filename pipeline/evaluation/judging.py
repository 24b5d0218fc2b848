"""What one threshold does to labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.share import Share

BOUNDS = (2.5, 97.5)
"""Percentiles that hold 95 % of the bootstrap samples."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its 95 % interval. All are None where nothing is known."""

    value: float | None
    low: float | None
    high: float | None


NOTHING_KNOWN = Interval(None, None, None)


@dataclass(frozen=True, slots=True)
class Counts:
    """Images by what they show and whether the label matched: ``found`` show the label and matched,
    ``false_alarms`` matched without it, ``missed`` show it and did not match, ``passed`` neither.
    """

    found: int
    false_alarms: int
    missed: int
    passed: int

    @property
    def precision(self) -> Share:
        """The share of the matched images that show the label."""
        return Share(self.found, self.found + self.false_alarms)

    @property
    def recall(self) -> Share:
        """The share of the images with the label that matched."""
        return Share(self.found, self.found + self.missed)

    @property
    def matched(self) -> Share:
        """The share of all images that matched."""
        matched = self.found + self.false_alarms
        return Share(matched, matched + self.missed + self.passed)

    @property
    def false_positive_rate(self) -> Share:
        """The share of the images without the label that matched."""
        return Share(self.false_alarms, self.false_alarms + self.passed)

    @property
    def f1(self) -> Interval:
        """The harmonic mean of precision and recall.

        It is ``2 j / (1 + j)`` for the share ``j`` of the images found among those that show the
        label or matched. So the bounds of that share are bounds of F1, at 100 % too.
        """
        share = Share(self.found, self.found + self.false_alarms + self.missed)
        return Interval(*(_f1(each) for each in (share.value, share.low, share.high)))


def _f1(share: float | None) -> float | None:
    return None if share is None else 2 * share / (1 + share)


def judge(scores: Scores, truth: Truth, threshold: float) -> Counts:
    """The counts of one label at a threshold, for ``scores`` [images] and ``truth`` [images]."""
    matched = scores >= threshold
    return Counts(
        found=int(np.sum(matched & truth)),
        false_alarms=int(np.sum(matched & ~truth)),
        missed=int(np.sum(~matched & truth)),
        passed=int(np.sum(~matched & ~truth)),
    )


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Places of images, the worst first: false alarms with the highest scores, and images that show
    the label with the lowest."""

    false_alarms: tuple[int, ...]
    missed: tuple[int, ...]


def worst(scores: Scores, truth: Truth, threshold: float, most: int) -> Mistakes:
    """At most ``most`` mistakes of each kind at a threshold."""
    matched = scores >= threshold
    falling = np.argsort(-scores, kind="stable")
    rising = np.argsort(scores, kind="stable")
    return Mistakes(
        tuple(falling[(matched & ~truth)[falling]][:most].tolist()),
        tuple(rising[(~matched & truth)[rising]][:most].tolist()),
    )


def confusions(scores: Scores, truth: Truth) -> npt.NDArray[np.intp]:
    """How often the label of each row had the label of each column as its best: [labels, labels].

    ``scores`` and ``truth`` are [images, labels]. Images with no label, or with several, are left
    out. The first of equal scores counts.
    """
    single = truth.sum(axis=1) == 1
    labels = truth.shape[1]
    pairs = truth[single].argmax(axis=1) * labels + scores[single].argmax(axis=1)
    return np.bincount(pairs, minlength=labels * labels).reshape(labels, labels)
