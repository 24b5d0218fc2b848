"""What a sample says about groups of images: each label's rates in each of them, and the gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.grouping import (
    FEW_IMAGES,
    Gap,
    Places,
    divided,
    largest_gap,
    threshold_of_false_positives,
    threshold_of_recall,
)
from pipeline.evaluation.judging import judge
from pipeline.evaluation.share import Share
from pipeline.labels.label_set import Decision

if TYPE_CHECKING:
    from workers.commands.evaluation.scoring import Scored

MATCHED, PRECISION, RECALL = "matched", "precision", "recall"
FALSE_POSITIVES = "false positives"
BEST = "best label"
DECIDED = "decided"


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate of the groups, by their names. ``of`` is the label or the action, ``at`` the
    threshold that the rate depends on."""

    of: str
    what: str
    shares: Mapping[str, Share]
    at: float | None = None

    @property
    def gap(self) -> Gap | None:
        return largest_gap(self.shares)

    @property
    def few(self) -> tuple[str, ...]:
        """The groups whose share is of too few images to be compared."""
        return tuple(name for name, share in self.shares.items() if share.of < FEW_IMAGES)


@dataclass(frozen=True, slots=True)
class LabelGroups:
    """A label at one of its thresholds, ``key`` and ``score``; both are None for the share of
    images that have it as their best label.

    ``same_recall`` and ``same_false_positives`` are thresholds by group: there, a group has the
    rate that the images of all groups have at ``score``. None: too few images, or no threshold.
    """

    name: str
    key: str | None
    score: float | None
    rates: tuple[Rate, ...]
    same_recall: Mapping[str, float | None]
    same_false_positives: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Grouped:
    """The groups of one column. ``images`` are their numbers of images; ``unknown`` images have no
    value in the column and are in no group."""

    column: str
    images: Mapping[str, int]
    unknown: int
    decisions: tuple[Rate, ...]
    labels: tuple[LabelGroups, ...]

    @property
    def rates(self) -> Iterator[Rate]:
        yield from self.decisions
        for label in self.labels:
            yield from label.rates

    @property
    def gaps(self) -> Sequence[tuple[Rate, Gap]]:
        """The largest gap of each rate. Those come first that are largest at the least."""
        found = [(rate, gap) for rate in self.rates if (gap := rate.gap) is not None]
        return sorted(found, key=lambda each: -(each[1].difference.low or 0.0))

    @property
    def few(self) -> Mapping[str, int]:
        """The groups with rates that are not compared, and how many rates."""
        counts = dict.fromkeys(self.images, 0)
        for rate in self.rates:
            for name in rate.few:
                counts[name] += 1
        return {name: count for name, count in counts.items() if count}


def group_label_set(scored: Scored, columns: Sequence[str]) -> tuple[Grouped, ...]:
    """Compare the groups of each column by itself."""
    return tuple(_grouped(scored, column) for column in columns)


def _grouped(scored: Scored, column: str) -> Grouped:
    names = [image.attributes.get(column) for image in scored.embedded.images]
    groups = divided(names)
    decisions = [
        Rate(
            action,
            DECIDED,
            {
                name: Share(int(np.sum(scored.decisions[places] == number)), len(places))
                for name, places in groups.items()
            },
        )
        for number, action in enumerate(scored.label_set.actions)
    ]
    return Grouped(
        column,
        {name: len(places) for name, places in groups.items()},
        names.count(None),
        tuple(decisions),
        tuple(_labels(scored, groups)),
    )


def _labels(scored: Scored, groups: Mapping[str, Places]) -> Iterator[LabelGroups]:
    exclusive = scored.label_set.decision is Decision.EXCLUSIVE
    best = scored.scores.argmax(axis=1)
    for number, label in enumerate(scored.label_set.labels):
        if exclusive:
            shares = {
                name: Share(int(np.sum(best[places] == number)), len(places))
                for name, places in groups.items()
            }
            yield LabelGroups(label.name, None, None, (Rate(label.name, BEST, shares),), {}, {})
        for key, threshold in (("review_threshold", label.review), ("act_threshold", label.act)):
            if threshold is not None:
                yield _at(scored, number, key, threshold.score, groups)


def _at(
    scored: Scored, number: int, key: str, score: float, groups: Mapping[str, Places]
) -> LabelGroups:
    label = scored.label_set.labels[number].name
    scores, truth = scored.scores[:, number], scored.truth[:, number]
    counts = {name: judge(scores[places], truth[places], score) for name, places in groups.items()}
    shares = {
        MATCHED: {name: each.matched for name, each in counts.items()},
        PRECISION: {name: each.precision for name, each in counts.items()},
        RECALL: {name: each.recall for name, each in counts.items()},
        FALSE_POSITIVES: {name: each.false_positive_rate for name, each in counts.items()},
    }
    if not scored.judges(label):
        matched = Rate(label, MATCHED, shares[MATCHED], score)
        return LabelGroups(label, key, score, (matched,), {}, {})
    together = np.concatenate([*groups.values()]) if groups else np.array([], np.intp)
    overall = judge(scores[together], truth[together], score)
    return LabelGroups(
        label,
        key,
        score,
        tuple(Rate(label, what, of_groups, score) for what, of_groups in shares.items()),
        {
            name: threshold_of_recall(scores[places], truth[places], overall.recall)
            for name, places in groups.items()
        },
        {
            name: threshold_of_false_positives(
                scores[places], truth[places], overall.false_positive_rate
            )
            for name, places in groups.items()
        },
    )
