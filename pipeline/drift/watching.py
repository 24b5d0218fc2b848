"""Counts the results of a worker in the bins of a reference, for metrics."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.drift.collecting import moved
from pipeline.drift.distance import BINS
from pipeline.drift.reference import Reference, SetReference
from pipeline.metrics import (
    DRIFT_DECISIONS,
    DRIFT_EMBEDDINGS,
    DRIFT_IMAGES,
    DRIFT_SCORES,
    DRIFT_SHARES,
    DRIFT_UNFIT,
)
from pipeline.ports import Meter
from pipeline.records import LabelSetResult, Looked, ModelIdentity
from pipeline.records.known import KnownMatch
from pipeline.rules import Scoring

log = logging.getLogger(__name__)

WINDOW = 1_000
"""Images that the mean and the spread of embeddings look back on. Until so many were seen, all
count alike; then each newer image counts for a thousandth, and older ones fade away."""
TOLD_EVERY = 64
"""Images between two updates of the metrics."""
MEASURES = ("cosine", "spreads", "spread")
"""Of ``Moved``, in its order."""


class WatchedScoring:
    """Implements ``Scoring`` by another one, and counts its results. Images of several views are
    not counted, because a reference is of one view. Belongs to the event loop's thread, but for
    ``close``."""

    def __init__(
        self,
        scoring: Scoring,
        versions: Mapping[str, str],
        reference: Reference | None,
        model: ModelIdentity,
        meter: Meter,
    ) -> None:
        """``versions`` has the version of each label set in force. A set that the reference does
        not fit is not watched, and ``clipstream_drift_reference_unfit`` says so; the log too. None:
        the reference cannot be used, which was said."""
        self._scoring = scoring
        self._names = tuple(versions)
        self._meter = meter
        self._watched: dict[str, _WatchedSet] = {}
        for name, version in versions.items():
            why = reference.unfit(name, version, model) if reference else ""
            meter.set(DRIFT_UNFIT, float(why is not None), label_set=name)
            if reference is not None and why is None:
                self._watched[name] = _WatchedSet(reference.of(version), reference.id, meter)
            elif why:
                log.warning(
                    "drift: label set %s, version %s, is not watched: the reference %s; write it "
                    "anew with `clipstream drift reference`",
                    name,
                    version,
                    why,
                )

    def judge(
        self, names: tuple[str, ...], looked: Looked, known: Sequence[KnownMatch] = ()
    ) -> tuple[LabelSetResult, ...]:
        results = self._scoring.judge(names, looked, known)
        if looked.views is None:
            for result in results:
                watched = self._watched.get(result.label_set)
                if watched is not None:
                    watched.add(result, looked)
        return results

    def unheard(self, names: tuple[str, ...], known: Sequence[KnownMatch]) -> str | None:
        return self._scoring.unheard(names, known)

    def unclassified_action(self, names: tuple[str, ...], known: Sequence[KnownMatch] = ()) -> str:
        return self._scoring.unclassified_action(names, known)

    def close(self) -> None:
        """Stop exposing what was told. Results that are still to come count nowhere."""
        for name in self._names:
            self._meter.forget(DRIFT_UNFIT, label_set=name)
        for each in self._watched.values():
            each.close()


class _WatchedSet:
    """One label set's images since they were told last, and its embeddings. Images are counted many
    at a time, because arrays of one image cost as much."""

    def __init__(self, reference: SetReference, id: str, meter: Meter) -> None:
        self._reference = reference
        self._meter = meter
        self._lock = threading.Lock()
        self._closed = False
        labels = reference.labels
        self._edges = np.full((len(labels), BINS - 1), np.inf)
        for row, label in enumerate(labels):
            self._edges[row, : len(label.edges)] = label.edges
        self._first_bins = BINS * np.arange(len(labels))
        self._series = [
            {"label_set": reference.name, "label": label.name, "reference": id, "bin": str(place)}
            for label in labels
            for place in range(BINS)
        ]
        self._of_images = {"label_set": reference.name, "reference": id}
        self._waiting: list[tuple[LabelSetResult, Looked]] = []
        self._mean = np.zeros(len(reference.mean))
        self._variance = 0.0
        self._seen = 0
        self._begin()

    def _begin(self) -> None:
        reference = self._reference
        self._meter.set(DRIFT_IMAGES, reference.images, **self._of_images)
        for action, count in reference.decisions.items():
            share = count / reference.images
            self._meter.set(DRIFT_DECISIONS, share, label_set=reference.name, decision=action)
        for first, label in zip(self._first_bins.tolist(), reference.labels, strict=True):
            for place, count in enumerate(label.counts):
                series = self._series[first + place]
                self._meter.set(DRIFT_SHARES, count / reference.images, **series)
                # From the start, because increase() does not see the first step of a new series.
                self._meter.add(DRIFT_SCORES, 0, **series)

    def add(self, result: LabelSetResult, looked: Looked) -> None:
        self._waiting.append((result, looked))
        if len(self._waiting) == TOLD_EVERY:
            waiting, self._waiting = self._waiting, []
            self._follow(np.stack([each.embedding for _, each in waiting]))
            self._tell([result for result, _ in waiting])

    def _follow(self, embeddings: npt.NDArray[np.floating]) -> None:
        """Put the mean and the variance of these embeddings together with those before."""
        vectors = embeddings.astype(np.float64)
        self._seen += len(vectors)
        weight = len(vectors) / min(self._seen, WINDOW)
        mean = vectors.mean(axis=0)
        apart = mean - self._mean
        variance = float(np.square(vectors - mean).sum()) / len(vectors)
        between = weight * (1 - weight) * float(apart @ apart)
        self._variance = (1 - weight) * self._variance + weight * variance + between
        self._mean += weight * apart

    def _tell(self, results: Sequence[LabelSetResult]) -> None:
        labels = len(self._first_bins)
        scores = np.array([[each.score for each in result.scores[:labels]] for result in results])
        bins = (scores[:, :, np.newaxis] >= self._edges).sum(axis=2) + self._first_bins
        counts = np.bincount(bins.ravel())
        found = moved(self._reference, self._mean, math.sqrt(self._variance))
        with self._lock:
            if self._closed:
                return
            for place in np.flatnonzero(counts).tolist():
                self._meter.add(DRIFT_SCORES, int(counts[place]), **self._series[place])
            for measure, value in zip(MEASURES, found, strict=True):
                self._meter.set(
                    DRIFT_EMBEDDINGS, value, label_set=self._reference.name, measure=measure
                )

    def close(self) -> None:
        name = self._reference.name
        with self._lock:
            self._closed = True
            self._meter.forget(DRIFT_IMAGES, **self._of_images)
            for action in self._reference.decisions:
                self._meter.forget(DRIFT_DECISIONS, label_set=name, decision=action)
            for measure in MEASURES:
                self._meter.forget(DRIFT_EMBEDDINGS, label_set=name, measure=measure)
            for series in self._series:
                self._meter.forget(DRIFT_SHARES, **series)
                self._meter.forget(DRIFT_SCORES, **series)
