"""One score out of those of an image's views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.records import LabelScore


def strongest(of_views: Iterable[Sequence[LabelScore]]) -> tuple[LabelScore, ...]:
    """A label's score is its largest over the views, with the similarity of that view. Of equal
    scores, the first view's counts.

    Each view is scored by itself, as if it were an image of its own. So the scores of an exclusive
    set add up to 1 in each view, and to 1 or more here: several labels may be right, each in
    another place.
    """
    scores = []
    for of_label in zip(*of_views, strict=True):
        view = max(range(len(of_label)), key=lambda place: of_label[place].score)
        scores.append(replace(of_label[view], view=view))
    return tuple(scores)
