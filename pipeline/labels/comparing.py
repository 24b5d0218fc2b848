"""Compares what two label sets decide about the same images."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.labels.blocks import Block
from pipeline.labels.label_set import LabelSet

DAY_S = 86_400.0

Image = TypeVar("Image")
"""Whatever identifies an image to the caller."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a label set decided: the matched label that calls for the decision, else the label with
    the highest score. ``score`` is that label's. If it was ``raised``, ``review_if`` decided."""

    label: str
    score: float
    matched: bool
    raised: bool = False


@dataclass(frozen=True, slots=True)
class Sample(Generic[Image]):
    """An image with another decision, and the reasons before and now."""

    image: Image
    before: Reason
    now: Reason


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One label. ``before`` and ``now`` count the images that match it, None where the label set of
    that time has no such label. ``gained`` match it now and did not, ``lost`` no longer do."""

    label: str
    before: int | None
    now: int | None
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class Comparison(Generic[Image]):
    """What changes. ``decisions`` counts images by their decision before and now, equal ones
    included. ``samples`` are images drawn at random from each pair of different decisions.
    ``first_s`` and ``last_s`` are the times of the first and the last image in Unix seconds, None
    if no image has a time."""

    images: int
    decisions: Mapping[tuple[str, str], int]
    labels: tuple[LabelChange, ...]
    samples: Mapping[tuple[str, str], Sequence[Sample[Image]]]
    first_s: float | None
    last_s: float | None

    @property
    def changed(self) -> int:
        """Images whose decision is another one."""
        return sum(count for (before, now), count in self.decisions.items() if before != now)

    @property
    def changes(self) -> list[tuple[tuple[str, str], int]]:
        """The pairs of different decisions, most frequent first."""
        found = [each for each in self.decisions.items() if each[0][0] != each[0][1]]
        return sorted(found, key=lambda each: (-each[1], each[0]))

    @property
    def images_per_day(self) -> float | None:
        """The rate at which images came. None for fewer than two times."""
        if self.first_s is None or self.last_s is None or self.last_s <= self.first_s:
            return None
        return (self.images - 1) / (self.last_s - self.first_s) * DAY_S


class Comparer(Generic[Image]):
    """Takes blocks of results, and says at the end what changes. Labels are compared by name."""

    def __init__(self, before: LabelSet, now: LabelSet, most_samples: int, seed: int = 0) -> None:
        """At most ``most_samples`` images are kept for each pair of decisions."""
        self._before = before
        self._now = now
        self._most = most_samples
        self._random = random.Random(seed)  # noqa: S311 - a draw that can be repeated
        self._images = 0
        self._decisions: Counter[tuple[str, str]] = Counter()
        self._samples: dict[tuple[str, str], list[Sample[Image]]] = {}
        self._first_s, self._last_s = math.inf, -math.inf
        names = [label.name for each in (before, now) for label in each.labels]
        self._labels = tuple(dict.fromkeys(names))
        self._matched = np.zeros((4, len(self._labels)), dtype=np.int64)

    def add(
        self, before: Block, now: Block, images: Sequence[Image], times_s: npt.NDArray[np.float64]
    ) -> None:
        """Compare the results of both label sets for some images. ``times_s`` [images] are Unix
        seconds, NaN where no time is known."""
        known = times_s[np.isfinite(times_s)]
        if len(known):
            self._first_s = min(self._first_s, float(known.min()))
            self._last_s = max(self._last_s, float(known.max()))
        self._count_labels(before, now)
        self._images += len(images)
        pairs = list(zip(_decisions(self._before, before), _decisions(self._now, now), strict=True))
        for row, pair in enumerate(pairs):
            self._decisions[pair] += 1
            if pair[0] != pair[1]:
                self._keep(pair, row, images[row], before, now)

    def _count_labels(self, before: Block, now: Block) -> None:
        was = _spread(self._before, before, self._labels)
        now_is = _spread(self._now, now, self._labels)
        counts = (was, now_is, now_is & ~was, was & ~now_is)
        self._matched += np.stack([each.sum(axis=0) for each in counts])

    def _keep(
        self, pair: tuple[str, str], row: int, image: Image, before: Block, now: Block
    ) -> None:
        """Reservoir sampling: each image of the pair is kept with the same probability."""
        kept = self._samples.setdefault(pair, [])
        place = len(kept)
        if place >= self._most:
            place = self._random.randrange(self._decisions[pair])
            if place >= self._most:
                return
        sample = Sample(
            image,
            _reason(self._before, before, row, pair[0]),
            _reason(self._now, now, row, pair[1]),
        )
        kept[place : place + 1] = [sample]

    def result(self) -> Comparison[Image]:
        """What was found so far."""
        there = [{label.name for label in each.labels} for each in (self._before, self._now)]
        labels = tuple(
            LabelChange(
                name,
                int(was) if name in there[0] else None,
                int(now) if name in there[1] else None,
                int(gained),
                int(lost),
            )
            for name, was, now, gained, lost in zip(self._labels, *self._matched, strict=True)
        )
        has_times = self._first_s <= self._last_s
        return Comparison(
            self._images,
            dict(self._decisions),
            labels,
            self._samples,
            self._first_s if has_times else None,
            self._last_s if has_times else None,
        )


def _decisions(label_set: LabelSet, block: Block) -> list[str]:
    return [label_set.actions[place] for place in block.decisions.tolist()]


def _spread(label_set: LabelSet, block: Block, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """The block's matches in columns of ``names``."""
    spread = np.zeros((len(block.matched), len(names)), dtype=np.bool_)
    places = [names.index(label.name) for label in label_set.labels]
    spread[:, places] = block.matched
    return spread


def _reason(label_set: LabelSet, block: Block, row: int, decision: str) -> Reason:
    scores = block.scores[row]
    calls = [
        place
        for place, label in enumerate(label_set.labels)
        if block.matched[row, place] and label.action(scores[place]) == decision
    ]
    place = max(calls, key=lambda each: scores[each]) if calls else int(scores.argmax())
    # The labels decide, but for what ``review_if`` raises.
    raised = label_set.decide(scores.tolist())[1] != decision
    return Reason(label_set.labels[place].name, float(scores[place]), bool(calls), raised)
