"""Zero-shot classification of a data set: the class whose prompts are nearest is the best.

The ensemble of templates is that of Radford et al. 2021, section 3.1.4
(https://arxiv.org/abs/2103.00020): the mean of the prompts' unit vectors, made a unit vector again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.share import Share

TOP = 5
_AT_ONCE = 1_024
"""Images whose similarities to all classes are in memory at a time: 8 MB with 1,000 classes."""


def class_vector(prompts: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The unit vector [dimension] of a class, from the embeddings of its prompts, [prompts,
    dimension]."""
    vectors = prompts.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = vectors.mean(axis=0)
    unit: npt.NDArray[np.float64] = mean / np.linalg.norm(mean)
    return unit


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """For each image: the ``best`` class, and the ``place`` of its own class among all, from 0."""

    best: npt.NDArray[np.intp]
    place: npt.NDArray[np.intp]


def rank(
    embeddings: npt.NDArray[np.floating],
    classes: npt.NDArray[np.float64],
    truth: npt.NDArray[np.intp],
) -> Ranked:
    """Rank the classes of every image.

    ``embeddings`` are [images, dimension], ``classes`` [classes, dimension], ``truth`` [images] the
    places of the right classes. Of equally similar classes, the first one ranks higher.
    """
    best = np.empty(len(truth), np.intp)
    place = np.empty(len(truth), np.intp)
    numbers = np.arange(len(classes))
    for first in range(0, len(truth), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        similar = embeddings[part].astype(np.float64) @ classes.T
        right = truth[part, np.newaxis]
        own = np.take_along_axis(similar, right, axis=1)
        best[part] = similar.argmax(axis=1)
        place[part] = ((similar > own) | ((similar == own) & (numbers < right))).sum(axis=1)
    return Ranked(best, place)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """``by_class`` has the share of each class's images whose best class is right. ``top_5`` is
    None with five classes or fewer."""

    top_1: Share
    top_5: Share | None
    by_class: tuple[Share, ...]

    @property
    def mean_per_class(self) -> float:
        """The mean over the classes that have images, so that each counts alike."""
        values = [each.value for each in self.by_class if each.value is not None]
        return sum(values) / len(values)


def accuracy(ranked: Ranked, truth: npt.NDArray[np.intp], classes: int) -> Accuracy:
    """What share of the images is right, for ``truth`` [images] and a number of classes."""
    right = ranked.place == 0
    hits = np.bincount(truth[right], minlength=classes).tolist()
    of = np.bincount(truth, minlength=classes).tolist()
    within = Share(int((ranked.place < TOP).sum()), len(truth))
    return Accuracy(
        Share(int(right.sum()), len(truth)),
        within if classes > TOP else None,
        tuple(Share(hit, count) for hit, count in zip(hits, of, strict=True)),
    )


def numbered(names: Sequence[str]) -> list[str]:
    """Names of classes in the order of their numbers, if they all are numbers (ImageNetV2 has
    folders 0 to 999), else in that of the alphabet."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)
