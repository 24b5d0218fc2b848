"""Collects results of one label set, and makes their reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.drift.distance import counted, edges_of
from pipeline.drift.reference import LabelReference, SetReference

MAX_LABELS = 20
"""Labels of a set that are watched: the first. Each has up to 20 series in each worker, and
Prometheus must get all series of all workers of a driver in one answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """The results of many images: ``scores`` [images, labels], images by decision, and the mean
    and spread of their embeddings as in ``SetReference``."""

    scores: npt.NDArray[np.float64]
    decisions: Counter[str]
    mean: npt.NDArray[np.float64]
    spread: float

    @property
    def images(self) -> int:
        return len(self.scores)

    def reference(
        self,
        labels: Sequence[str],
        *,
        name: str,
        version: str,
        source: str,
        window: tuple[str | None, str | None],
    ) -> SetReference:
        """The reference that these images make. ``labels`` names the columns of scores."""
        made = []
        for column, label in enumerate(labels[:MAX_LABELS]):
            scores = self.scores[:, column]
            edges = edges_of(scores)
            counts = counted(scores, edges).tolist()
            made.append(LabelReference(name=label, edges=tuple(edges.tolist()), counts=counts))
        return SetReference(
            name=name,
            version=version,
            source=source,
            images=self.images,
            first=window[0],
            last=window[1],
            labels=tuple(made),
            decisions=dict(sorted(self.decisions.items())),
            mean=tuple(self.mean.tolist()),
            spread=self.spread,
        )


class Collector:
    """Takes results block by block. Keeps every score: 8 bytes each."""

    def __init__(self) -> None:
        self._scores: list[npt.NDArray[np.float64]] = []
        self._decisions: Counter[str] = Counter()
        self._sum: npt.NDArray[np.float64] | None = None
        self._squares = 0.0

    def add(
        self,
        scores: npt.NDArray[np.float64],
        decisions: Iterable[str],
        embeddings: npt.NDArray[np.floating],
    ) -> None:
        """Take ``scores`` [images, labels] and ``embeddings`` [images, dimension]."""
        vectors = embeddings.astype(np.float64, copy=False)
        total = vectors.sum(axis=0)
        self._scores.append(scores)
        self._decisions.update(decisions)
        self._sum = total if self._sum is None else self._sum + total
        self._squares += float(np.square(vectors).sum())

    def result(self) -> Collected | None:
        """What was taken so far, None without images."""
        if self._sum is None:
            return None
        scores = np.concatenate(self._scores)
        mean = self._sum / len(scores)
        # The mean squared distance from the mean is the mean square less the square of the mean.
        variance = self._squares / len(scores) - float(mean @ mean)
        return Collected(scores, self._decisions, mean, max(0.0, variance) ** 0.5)


class Moved(NamedTuple):
    """How far embeddings are from a reference. ``cosine`` is 1 less the cosine of both means,
    ``spreads`` the distance of the means in units of the reference's spread, and ``spread`` the
    spread in the same units."""

    cosine: float
    spreads: float
    spread: float


def moved(reference: SetReference, mean: npt.NDArray[np.float64], spread: float) -> Moved:
    """Compare the embeddings of now with a reference."""
    before = np.array(reference.mean)
    lengths = float(np.linalg.norm(before) * np.linalg.norm(mean))
    cosine = float(before @ mean) / lengths if lengths else 0.0
    # A reference of equal images has no spread to measure in.
    unit = reference.spread or 1.0
    return Moved(1.0 - cosine, float(np.linalg.norm(mean - before)) / unit, spread / unit)
