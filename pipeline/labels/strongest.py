"""One result out of those of an image's views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.labels.label_set import LabelSet
from pipeline.records import LabelSetResult


def strongest(label_set: LabelSet, of_views: Sequence[LabelSetResult]) -> LabelSetResult:
    """A label's score is its largest over the views, with the similarity of that view. Of equal
    scores, the first view's counts. The decision follows from these scores.

    Each view is scored by itself, as if it were an image of its own. So the scores of an exclusive
    set add up to 1 in each view, and to 1 or more here: several labels may be right, each in
    another place.
    """
    scores = []
    for of_label in zip(*(result.scores for result in of_views), strict=True):
        view = max(range(len(of_label)), key=lambda place: of_label[place].score)
        scores.append(replace(of_label[view], view=view))
    matched, decision = label_set.decide(each.score for each in scores)
    return replace(of_views[0], scores=tuple(scores), matched=matched, decision=decision)
