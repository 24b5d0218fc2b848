"""Chooses a threshold from labelled images, with a promise about images that nobody has seen.

- **Precision.** The lowest threshold at which the precision is at least the wanted one. Many
  thresholds are looked at, so some would look good by chance. The promise counts them all: with the
  probability ``confidence``, the precision of the stream is at least the wanted one.
- **Recall.** The highest threshold at which the recall is at least the wanted one, with the same
  promise. One look is enough, because recall only falls as the threshold rises.
- **Cost.** The threshold with the least cost on these images. No promise.

The promise holds if the images were drawn at random from the stream, and independently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.binomial import at_least
from pipeline.evaluation.judging import judge
from pipeline.evaluation.sample import Scores, Truth

FEW_POSITIVES = 50
"""With fewer images that show a label, intervals are wide: a warning says so."""

_MOST_STARTS = 4
_STEP = 1.02
"""Ratio of the numbers of matched images at neighbouring thresholds that are looked at."""


class Aim(StrEnum):
    """What a threshold is chosen for."""

    PRECISION = "precision"
    RECALL = "recall"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Goal:
    """``wanted`` is the precision or recall to reach, above 0 and below 1, and ``confidence`` the
    probability of reaching it. Of a cost, ``wanted`` is the cost of a miss, in false alarms.

    ``tries`` ways to score were compared on the images that the threshold is chosen on. Each of
    them gets an equal part of the allowed error, so the promise holds for whichever was taken.
    """

    aim: Aim
    wanted: float
    confidence: float = 0.95
    tries: int = 1

    def __str__(self) -> str:
        if self.aim is Aim.COST:
            return f"least cost, where a miss costs {self.wanted:g} false alarms"
        return f"{self.aim} of at least {self.wanted:g} with {self.confidence:.0%} confidence"

    @property
    def least_evidence(self) -> int:
        """Fewest matched images, or images with the label, that can show the goal is reached."""
        if self.aim is Aim.COST:
            return 1
        return math.ceil(math.log(self.error) / math.log(self.wanted))

    @property
    def error(self) -> float:
        """The probability with which one way's threshold may fail the goal."""
        return (1 - self.confidence) / self.tries


def choose(goal: Goal, scores: Scores, truth: Truth) -> float | None:
    """The threshold for one label, or None if the images do not show that any reaches the goal.

    ``scores`` and ``truth`` are [images]. The threshold lies between two scores: it has as few
    decimals as that allows.
    """
    match goal.aim:
        case Aim.PRECISION:
            return _precise(goal, scores, truth)
        case Aim.RECALL:
            return _recalling(goal, scores, truth)
        case Aim.COST:
            return _cheapest(goal, scores, truth)


def _precise(goal: Goal, scores: Scores, truth: Truth) -> float | None:
    """Learn-then-test (Angelopoulos et al. 2021, https://arxiv.org/abs/2110.01052): a threshold is
    taken if a test rejects that its precision is below the wanted one, and all tests together are
    wrong with the probability ``1 - confidence`` at most.

    The thresholds to test are those at which certain numbers of images match. The numbers do not
    depend on the labels, so how many of the matched images show the label is binomial. They are
    tested from few to many by the fallback procedure (Wiens 2003): some of them, the starts, hold
    equal parts of the allowed error; what a rejecting test holds passes on to the next.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.cumsum(truth[order])
    numbers, starts = _numbers_to_test(goal, len(ranked))
    # Images of equal scores match together. The last of them stands for all.
    ends = np.searchsorted(-ranked, -ranked[numbers - 1], side="right")
    held = 0.0
    best = None
    for number, is_start in zip(ends.tolist(), starts.tolist(), strict=True):
        held += is_start * goal.error / max(1, int(starts.sum()))
        if at_least(int(found[number - 1]), number, goal.wanted) <= held:
            best = number
        else:
            held = 0.0
    if best is None:
        return None
    below = float(ranked[best]) if best < len(ranked) else 0.0
    return between(below, float(ranked[best - 1]))


def _numbers_to_test(goal: Goal, images: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Numbers of matched images in rising order, and which of them are starts.

    The first start is the smallest number that can reject with its part of the error. Each next one
    is twice as many.
    """
    for count in range(_MOST_STARTS, 0, -1):
        part = goal.error / count
        first = math.ceil(math.log(part) / math.log(goal.wanted))
        starts = first * 2 ** np.arange(count)
        if starts[-1] <= images:
            break
    else:
        return np.array([], np.intp), np.array([], np.bool_)
    steps = 1 + math.ceil(math.log(images / first) / math.log(_STEP))
    grid = np.minimum((first * _STEP ** np.arange(steps)).astype(np.intp), images)
    numbers = np.unique(np.concatenate((grid, starts)))
    return numbers, np.isin(numbers, starts)


def _recalling(goal: Goal, scores: Scores, truth: Truth) -> float | None:
    """The exact tolerance bound of order statistics (Wilks 1941): the share of images with the
    label below the k-th lowest of n scores follows a beta distribution, whatever the scores'."""
    positives = np.sort(scores[truth])
    count = len(positives)
    allowed = 0
    while allowed < count and at_least(allowed + 1, count, 1 - goal.wanted) >= 1 - goal.error:
        allowed += 1
    if not allowed:
        return None
    score = float(positives[allowed - 1])
    lower = scores[scores < score]
    return between(float(lower.max()) if len(lower) else 0.0, score)


def _cheapest(goal: Goal, scores: Scores, truth: Truth) -> float | None:
    """None if no threshold costs less than never to match, or if nothing shows the label."""
    ranked = np.unique(scores)[::-1]
    order = np.argsort(-scores, kind="stable")
    ends = np.searchsorted(-scores[order], -ranked, side="right")
    found = np.cumsum(truth[order])[ends - 1]
    costs = (ends - found) + goal.wanted * (truth.sum() - found)
    best = int(np.argmin(costs))
    if costs[best] >= goal.wanted * truth.sum():
        return None
    below = float(ranked[best + 1]) if best + 1 < len(ranked) else 0.0
    return between(below, float(ranked[best]))


def cost(goal: Goal, scores: Scores, truth: Truth, threshold: float | None) -> float:
    """What the mistakes at a threshold cost, in false alarms for each image."""
    counts = judge(scores, truth, math.inf if threshold is None else threshold)
    return (counts.false_alarms + goal.wanted * counts.missed) / max(1, len(scores))


def between(below: float, score: float) -> float:
    """A number above ``below`` and at most ``score``, with as few decimals as possible. Of those,
    the one nearest to the middle."""
    for decimals in range(1, 17):
        number = round((below + score) / 2, decimals)
        if below < number <= score:
            return number
    return score
