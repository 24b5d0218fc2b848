"""What became of a shard's rows, and of a job's: counts, and how the scores are spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from pipeline.backfill.job import Count, Written
from pipeline.records import Classification, DeadLetter, LabelSetResult

BINS = 50
"""Bins of a histogram of scores, each as wide as the others, from 0 to 1."""


class LabelTally(Written):
    """``matched`` counts rows; ``scores`` counts them by score, in ``BINS`` bins."""

    matched: Count
    scores: tuple[Count, ...]


class LabelSetTally(Written):
    rows: Count
    decisions: Mapping[str, Count]
    labels: Mapping[str, LabelTally]


class Summary(Written):
    """Counts of rows. ``rows`` = ``classified`` + ``failed`` + ``skipped``. ``codes`` counts the
    failed rows by code. ``bytes`` were read. ``seconds`` is how long it took."""

    rows: Count = 0
    classified: Count = 0
    failed: Count = 0
    skipped: Count = 0
    bytes: Count = 0
    seconds: float = 0.0
    codes: Mapping[str, Count] = {}
    label_sets: Mapping[str, LabelSetTally] = {}

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            rows=self.rows + other.rows,
            classified=self.classified + other.classified,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            bytes=self.bytes + other.bytes,
            seconds=self.seconds + other.seconds,
            codes=_sum(self.codes, other.codes),
            label_sets={
                name: _merged(self.label_sets.get(name), other.label_sets.get(name))
                for name in {**self.label_sets, **other.label_sets}
            },
        )

    @classmethod
    def of_all(cls, summaries: Iterable[Summary]) -> Self:
        total: Summary = cls()
        for each in summaries:
            total += each
        return total  # type: ignore[return-value]


class Tally:
    """Counts outcomes as they come. Not thread-safe."""

    def __init__(self) -> None:
        self.classified = self.failed = self.skipped = self.bytes = 0
        self.codes: dict[str, int] = {}
        self._sets: dict[str, _Counted] = {}

    @property
    def rows(self) -> int:
        return self.classified + self.failed + self.skipped

    def add(self, outcome: Classification | DeadLetter | None) -> None:
        """None: the row was skipped by its route."""
        if outcome is None:
            self.skipped += 1
        elif isinstance(outcome, DeadLetter):
            self.failed += 1
            self.codes[outcome.code] = self.codes.get(outcome.code, 0) + 1
        else:
            self.classified += 1
            self.bytes += outcome.looked.size_bytes
            for result in outcome.results:
                counted = self._sets.get(result.label_set)
                if counted is None:
                    counted = self._sets[result.label_set] = _Counted(result)
                counted.add(result)

    def summary(self, seconds: float) -> Summary:
        return Summary(
            rows=self.rows,
            classified=self.classified,
            failed=self.failed,
            skipped=self.skipped,
            bytes=self.bytes,
            seconds=seconds,
            codes=dict(sorted(self.codes.items())),
            label_sets={name: counted.tally() for name, counted in sorted(self._sets.items())},
        )


class _Counted:
    """Counts the results of one label set."""

    def __init__(self, first: LabelSetResult) -> None:
        self._rows = 0
        self._decisions: dict[str, int] = {}
        self._matched = {score.label: 0 for score in first.scores}
        self._scores = {score.label: [0] * BINS for score in first.scores}

    def add(self, result: LabelSetResult) -> None:
        self._rows += 1
        self._decisions[result.decision] = self._decisions.get(result.decision, 0) + 1
        for label in result.matched:
            self._matched[label] += 1
        for each in result.scores:
            self._scores[each.label][min(BINS - 1, int(each.score * BINS))] += 1

    def tally(self) -> LabelSetTally:
        return LabelSetTally(
            rows=self._rows,
            decisions=dict(sorted(self._decisions.items())),
            labels={
                label: LabelTally(matched=self._matched[label], scores=tuple(bins))
                for label, bins in self._scores.items()
            },
        )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({**one, **other})}


def _merged(one: LabelSetTally | None, other: LabelSetTally | None) -> LabelSetTally:
    if one is None or other is None:
        found = one or other
        if found is None:
            raise ValueError("summary: nothing to merge")
        return found
    return LabelSetTally(
        rows=one.rows + other.rows,
        decisions=_sum(one.decisions, other.decisions),
        labels={
            label: LabelTally(
                matched=one.labels[label].matched + other.labels[label].matched,
                scores=tuple(
                    a + b
                    for a, b in zip(
                        one.labels[label].scores, other.labels[label].scores, strict=True
                    )
                ),
            )
            for label in one.labels
        },
    )
