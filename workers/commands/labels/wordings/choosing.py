"""Chooses among wordings of labels on one part of a sample, and judges the choice on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.judging import Interval
from pipeline.evaluation.ranking import Preference, bootstrap_weights, gain, prefer
from pipeline.evaluation.tuning import FEW_POSITIVES
from pipeline.labels.label_set import Decision, LabelSet
from workers.commands.labels.tuned import Parts
from workers.commands.labels.wordings.candidates import Wording, reworded

if TYPE_CHECKING:
    from workers.commands.evaluation.scoring import Seen


@dataclass(frozen=True, slots=True)
class WordedLabel:
    """What became of a label's wording. ``candidates`` are the places of ``found`` after the first,
    which is the wording of the label set."""

    name: str
    candidates: Sequence[Wording]
    found: Preference
    positives: int
    held_out_positives: int

    @property
    def chosen(self) -> Wording | None:
        """The candidate that ranks the images to choose on best; None: the present wording does."""
        return self.candidates[self.found.best - 1] if self.found.best else None

    @property
    def kept_because(self) -> str:
        """Why the label keeps its wording; empty if it does not."""
        if not self.positives or not self.held_out_positives:
            return "no image of a part shows it"
        if self.chosen is None:
            return "no candidate is better on the images to choose on"
        if min(self.positives, self.held_out_positives) < FEW_POSITIVES:
            return f"fewer than {FEW_POSITIVES} images of a part show it"
        if self.found.gain.low is None or self.found.gain.low <= 0:
            return "the difference may be chance"
        return ""


@dataclass(frozen=True, slots=True)
class Worded:
    """``label_set`` has the wordings that are proven better. ``skipped`` are labels that were not
    compared, each with the reason. ``gains`` are what all new wordings together do to each label's
    average precision on the held-out images; empty if there are none."""

    labels: tuple[WordedLabel, ...]
    skipped: Mapping[str, str]
    label_set: LabelSet
    gains: Mapping[str, Interval]

    @property
    def adopted(self) -> Mapping[str, Wording]:
        """The new wordings by label."""
        return {
            each.name: each.chosen
            for each in self.labels
            if each.chosen is not None and not each.kept_because
        }

    def tries(self, label: str) -> int:
        """How many ways there were to score a label, of which one was chosen by what the images
        show: a promise about its threshold accounts for all of them."""
        counts = {each.name: 1 + len(each.candidates) for each in self.labels}
        if self.label_set.decision is Decision.EXCLUSIVE:
            return math.prod(counts.values())
        return counts.get(label, 1)


def choose_wordings(
    seen: Seen, label_set: LabelSet, wordings: Mapping[str, Sequence[Wording]], parts: Parts
) -> Worded:
    """Each label's wordings are compared by average precision, while the other labels keep theirs.

    Raises:
        Halt: a candidate cannot be told from another label, or cannot be embedded.
    """
    present = seen.score(label_set)
    names = [label.name for label in label_set.labels]
    on, out = parts.chosen_on, parts.held_out
    weights = bootstrap_weights(len(out))
    labels, skipped = [], {}
    for name, candidates in wordings.items():
        if not present.judges(name):
            skipped[name] = "the sample does not judge it"
            continue
        place = names.index(name)
        ways = [present.scores[:, place]]
        for each in candidates:
            ways.append(seen.score(reworded(label_set, {name: each})).scores[:, place])
        truth = present.truth[:, place]
        found = prefer(np.stack(ways), truth, on, out, weights)
        positives = int(truth[on].sum()), int(truth[out].sum())
        labels.append(WordedLabel(name, candidates, found, *positives))
    worded = Worded(tuple(labels), skipped, label_set, {})
    if not worded.adopted:
        return worded
    new = seen.score(reworded(label_set, worded.adopted))
    gains = {
        name: gain(present.scores[out, at], new.scores[out, at], new.truth[out, at], weights)
        for at, name in enumerate(names)
        if new.judges(name) and new.truth[out, at].any()
    }
    return Worded(tuple(labels), skipped, new.label_set, gains)
