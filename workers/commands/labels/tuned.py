"""Chooses the thresholds of a label set on one part of a sample, and judges them on the other.
``Found`` has all that `clipstream labels tune` finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import Halt
from pipeline.evaluation.judging import Counts, judge
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.splitting import Places, one_of_each, split
from pipeline.evaluation.tuning import FEW_POSITIVES, Aim, Goal, choose
from pipeline.labels.label_set import Decision, Label

if TYPE_CHECKING:
    from pipeline.labels.learnt.calibration import Calibration
    from workers.commands.evaluation.embedding import Embedded
    from workers.commands.evaluation.scoring import Scored
    from workers.commands.labels.learning.calibrating import Calibrated
    from workers.commands.labels.wordings.candidates import Wording
    from workers.commands.labels.wordings.choosing import Worded

ACT, REVIEW = "act_threshold", "review_threshold"


@dataclass(frozen=True, slots=True)
class Parts:
    """Places of images: to choose on, and held out. Of each group of images that resemble each
    other, one image is in one of them."""

    chosen_on: Places
    held_out: Places


@dataclass(frozen=True, slots=True)
class TunedLabel:
    """What became of one label's threshold.

    ``before`` and ``score`` are the old and the new threshold. ``score`` is None if no threshold
    was found: the old one is kept, and ``kept_because`` says why. ``also`` are other thresholds of
    the label that had to move along. ``was`` and ``now`` count the held-out images at the old and
    the new one; ``now`` is ``was`` if the threshold is kept.
    """

    name: str
    key: str
    before: float | None
    score: float | None
    kept_because: str
    also: Mapping[str, float]
    positives: int
    held_out_positives: int
    was: Counts | None
    now: Counts | None

    @property
    def few(self) -> bool:
        """Whether too few images show the label for a narrow interval."""
        return min(self.positives, self.held_out_positives) < FEW_POSITIVES


@dataclass(frozen=True, slots=True)
class Tuned:
    """``skipped`` are labels without a threshold to tune, each with the reason."""

    goal: Goal
    labels: tuple[TunedLabel, ...]
    skipped: Mapping[str, str]

    @property
    def thresholds(self) -> Mapping[str, Mapping[str, float]]:
        """The new thresholds by label and key."""
        return {
            each.name: {**each.also, each.key: each.score}
            for each in self.labels
            if each.score is not None
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a label set. ``scored`` has the new wordings, if there are any. None: this was
    not asked for."""

    scored: Scored
    parts: Parts
    worded: Worded | None = None
    tuned: Tuned | None = None
    calibrated: Calibrated | None = None

    @property
    def wordings(self) -> Mapping[str, Wording]:
        """The new ones, by label. So are the others."""
        return {} if self.worded is None else self.worded.adopted

    @property
    def thresholds(self) -> Mapping[str, Mapping[str, float]]:
        return {} if self.tuned is None else self.tuned.thresholds

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        return {} if self.calibrated is None else self.calibrated.calibrations

    @property
    def stale_calibrations(self) -> tuple[str, ...]:
        """Labels with a calibration that was learnt from the scores of the wordings before."""
        label_set, wordings = self.scored.label_set, self.wordings
        every = bool(wordings) and label_set.decision is Decision.EXCLUSIVE
        return tuple(
            label.name
            for label in label_set.labels
            if label.calibration is not None
            and (every or label.name in wordings)
            and label.name not in self.calibrations
        )

    @property
    def lacking(self) -> bool:
        """Whether a label lacks the evidence for a threshold or a calibration."""
        tuned = () if self.tuned is None else self.tuned.labels
        calibrated = () if self.calibrated is None else self.calibrated.labels
        return any(each.score is None for each in tuned) or any(
            each.calibration is None for each in calibrated
        )


def divide(scored: Scored, held_out: float, seed: int) -> Parts:
    """The two parts of a scored sample."""
    return divided(scored.embedded, scored.truth, held_out, seed)


def divided(embedded: Embedded, truth: Truth, held_out: float, seed: int) -> Parts:
    """The two parts of a sample. Its labels are divided evenly, and no group is divided."""
    groups = embedded.sample.groups(embedded.kept, embedded.hashes)
    chosen_on, out = split(truth, groups, held_out, seed)
    return Parts(one_of_each(groups, chosen_on, seed), one_of_each(groups, out, seed))


def tune_label_set(
    scored: Scored,
    goal: Goal,
    parts: Parts,
    set_actions: Mapping[str, bool],
    tries: Callable[[str], int] = lambda label: 1,
) -> Tuned:
    """Choose a threshold for every label that can have one.

    ``set_actions`` says for each key whether the set has an action that a label without thresholds
    can take. ``tries`` are a label's ``Goal.tries``.
    """
    labels = []
    skipped = {}
    for place, label in enumerate(scored.label_set.labels):
        if label.neutral:
            continue
        key = threshold_key(goal, label, set_actions)
        if not scored.judges(label.name):
            skipped[label.name] = "the sample does not judge it"
        elif key is None:
            skipped[label.name] = "it has no threshold, and the label set no action for one"
        else:
            scores, truth = scored.scores[:, place], scored.truth[:, place]
            own = replace(goal, tries=tries(label.name))
            labels.append(_tune(label, key, own, parts, scores, truth))
    return Tuned(goal, tuple(labels), skipped)


def threshold_key(goal: Goal, label: Label, set_actions: Mapping[str, bool]) -> str | None:
    """Which threshold of a label a goal is about.

    Recall counts where anything follows, precision and cost where an action does. The other
    threshold stands in where the label has no such one.
    """
    order = (REVIEW, ACT) if goal.aim is Aim.RECALL else (ACT, REVIEW)
    written = {ACT: label.act, REVIEW: label.review}
    for key in order:
        if written[key] is not None:
            return key
    return next((key for key in order if set_actions[key]), None)


def _tune(
    label: Label, key: str, goal: Goal, parts: Parts, scores: Scores, truth: Truth
) -> TunedLabel:
    written = label.act if key == ACT else label.review
    before = None if written is None else written.score
    on, out = parts.chosen_on, parts.held_out
    positives = int(truth[on].sum())
    score = choose(goal, scores[on], truth[on])
    also: dict[str, float] = {}
    if score is not None and key == ACT and label.review and label.review.score > score:
        also[REVIEW] = score
    if score is not None and key == REVIEW and label.act:
        # Below the threshold of the recall, the recall is higher still.
        score = min(score, label.act.score)
    was = None if before is None else judge(scores[out], truth[out], before)
    now = was if score is None else judge(scores[out], truth[out], score)
    return TunedLabel(
        label.name,
        key,
        before,
        score,
        _why_kept(goal, positives) if score is None else "",
        also,
        positives,
        int(truth[out].sum()),
        was,
        now,
    )


def _why_kept(goal: Goal, positives: int) -> str:
    least = goal.least_evidence
    if positives < least:
        return f"{positives} images to choose on show it, and the goal needs {least} at least"
    if goal.aim is Aim.COST:
        return "no threshold costs less than never to match"
    return f"the images do not show that any threshold reaches a {goal.aim} of {goal.wanted:g}"


def write_new(file: Path, content: bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        Halt: ``tune.unwritable``, ``tune.exists``.
    """
    try:
        with file.open("xb") as opened:
            opened.write(content)
    except FileExistsError as error:
        raise Halt("tune.exists", f"{file} exists; name a new file with --output") from error
    except OSError as error:
        raise Halt("tune.unwritable", f"{file}: cannot be written ({error.strerror})") from error
