"""How good a label's scores are, judged by what people say about the images.

A row has evidence when its plan has ``truth``: the labels that are true of the image. Rows are
counted by bin of the score, so that the counts of shards can be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.backfill.job import Count, Written
from pipeline.evaluation.share import Share


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a threshold does to the rows with evidence. ``precision``: the share of the flagged rows
    that have the label in truth. ``recall``: the share of the rows with the label that are flagged.
    ``flagged``: the share of all rows that are flagged. ``threshold`` is None for the label set's
    own thresholds."""

    threshold: float | None
    precision: Share
    recall: Share
    flagged: Share


class LabelEvidence(Written):
    """Rows with evidence, of one label. ``true_scores`` counts the rows that have the label by
    score, in bins; ``false_scores`` counts the others. ``true_matched`` and ``false_matched`` are
    those of them that matched by the label set's own thresholds."""

    true_scores: tuple[Count, ...]
    false_scores: tuple[Count, ...]
    true_matched: Count
    false_matched: Count

    def __add__(self, other: LabelEvidence) -> LabelEvidence:
        return LabelEvidence(
            true_scores=_added(self.true_scores, other.true_scores),
            false_scores=_added(self.false_scores, other.false_scores),
            true_matched=self.true_matched + other.true_matched,
            false_matched=self.false_matched + other.false_matched,
        )

    @property
    def rows(self) -> int:
        return sum(self.true_scores) + sum(self.false_scores)

    @property
    def true_rows(self) -> int:
        return sum(self.true_scores)

    @property
    def as_decided(self) -> Verdict:
        return self._verdict(None, self.true_matched, self.false_matched)

    def at(self, edge: int) -> Verdict:
        """With a threshold at the lower edge of a bin: a row is flagged from there on."""
        return self._verdict(
            edge / len(self.true_scores),
            sum(self.true_scores[edge:]),
            sum(self.false_scores[edge:]),
        )

    def _verdict(self, threshold: float | None, true: int, false: int) -> Verdict:
        return Verdict(
            threshold,
            precision=Share(true, true + false),
            recall=Share(true, self.true_rows),
            flagged=Share(true + false, self.rows),
        )


class EvidenceTally:
    """Counts one label's rows with evidence. Not thread-safe."""

    def __init__(self, bins: int) -> None:
        self._scores = ([0] * bins, [0] * bins)
        self._matched = [0, 0]

    def add(self, bin_of_score: int, *, true: bool, matched: bool) -> None:
        self._scores[true][bin_of_score] += 1
        self._matched[true] += matched

    def evidence(self) -> LabelEvidence:
        false, true = self._scores
        return LabelEvidence(
            true_scores=tuple(true),
            false_scores=tuple(false),
            true_matched=self._matched[True],
            false_matched=self._matched[False],
        )


def _added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
