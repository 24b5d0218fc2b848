"""What a sample says about a label set: each label at each of its thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.evaluation.judging import Counts, Interval, Mistakes, confusions, judge, worst
from pipeline.evaluation.ranking import average_precision, bootstrap_weights
from pipeline.evaluation.share import Share
from pipeline.labels.label_set import Decision, Label

if TYPE_CHECKING:
    from workers.commands.evaluation.scoring import Scored

SHOWN_MISTAKES = 6


class Outcome(StrEnum):
    """What became of an expectation."""

    MET = "met"
    """The whole interval is at or above the least value."""
    UNSURE = "unsure"
    """The estimate is, and the lower bound is not: there are too few images to tell."""
    MISSED = "missed"
    """The estimate is below the least value."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An expectation of a label, ``precision`` or ``recall``, and what the sample shows."""

    what: str
    least: float
    share: Share

    @property
    def outcome(self) -> Outcome:
        if self.share.value is None or self.share.low is None:
            return Outcome.UNSURE
        if self.share.value < self.least:
            return Outcome.MISSED
        return Outcome.MET if self.share.low >= self.least else Outcome.UNSURE


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """A label at one of its thresholds. ``key`` is the threshold's key in the label set."""

    key: str
    score: float
    action: str
    counts: Counts
    mistakes: Mistakes


@dataclass(frozen=True, slots=True)
class TestedLabel:
    """A label that the sample judges: ``positives`` of its images show it."""

    name: str
    positives: int
    average_precision: Interval
    thresholds: tuple[AtThreshold, ...]
    expected: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """``count`` images that show one label had another as their best."""

    shown: str
    best: str
    count: int


@dataclass(frozen=True, slots=True)
class Tested:
    """``unjudged`` are labels of which the sample says nothing. ``right`` is the share of the
    images with one label that have it as their best; only an exclusive set has one."""

    labels: tuple[TestedLabel, ...]
    unjudged: tuple[str, ...]
    right: Share | None
    confusions: tuple[Confusion, ...]

    def outcomes(self) -> Iterator[tuple[TestedLabel, Expected]]:
        for label in self.labels:
            for expected in label.expected:
                yield label, expected

    def fails(self, *, strict: bool) -> bool:
        """Whether an expectation is missed; if ``strict``, also whether one is unsure."""
        bad = {Outcome.MISSED, Outcome.UNSURE} if strict else {Outcome.MISSED}
        return any(expected.outcome in bad for _, expected in self.outcomes())


def judge_label_set(scored: Scored) -> Tested:
    """Judge every label of the set that the sample judges."""
    weights = bootstrap_weights(len(scored.scores))
    tested = []
    for place, label in enumerate(scored.label_set.labels):
        if not scored.judges(label.name):
            continue
        scores, truth = scored.scores[:, place], scored.truth[:, place]
        thresholds = []
        for key, threshold in (("review_threshold", label.review), ("act_threshold", label.act)):
            if threshold is not None:
                counts = judge(scores, truth, threshold.score)
                mistakes = worst(scores, truth, threshold.score, SHOWN_MISTAKES)
                at = AtThreshold(key, threshold.score, threshold.action, counts, mistakes)
                thresholds.append(at)
        tested.append(
            TestedLabel(
                label.name,
                int(truth.sum()),
                average_precision(scores, truth, weights),
                tuple(thresholds),
                tuple(_expected(label, thresholds)),
            )
        )
    names = [label.name for label in scored.label_set.labels]
    return Tested(
        tuple(tested),
        tuple(name for name in names if not scored.judges(name)),
        *_confused(scored, names),
    )


def _expected(label: Label, thresholds: list[AtThreshold]) -> Iterator[Expected]:
    """Precision counts where an action follows, recall where anything does: the lower threshold
    stands first."""
    if label.expect is None or not thresholds:
        return
    if label.expect.precision is not None:
        yield Expected("precision", label.expect.precision, thresholds[-1].counts.precision)
    if label.expect.recall is not None:
        yield Expected("recall", label.expect.recall, thresholds[0].counts.recall)


def _confused(scored: Scored, names: list[str]) -> tuple[Share | None, tuple[Confusion, ...]]:
    """Of an exclusive set all of whose labels the sample judges; else nothing."""
    if scored.label_set.decision is not Decision.EXCLUSIVE or not all(map(scored.judges, names)):
        return None, ()
    counts = confusions(scored.scores, scored.truth)
    right = Share(int(counts.trace()), int(counts.sum()))
    found = [
        Confusion(names[row], names[column], int(counts[row, column]))
        for row, column in zip(*counts.nonzero(), strict=True)
        if row != column
    ]
    return right, tuple(sorted(found, key=lambda each: (-each.count, each.shown, each.best)))
