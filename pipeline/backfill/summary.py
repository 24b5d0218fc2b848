"""What became of a shard's rows, and of a job's: counts, and how the scores are spread."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pipeline.backfill.job import Count, Written
from pipeline.backfill.report.evidence import EvidenceTally, LabelEvidence
from pipeline.records import Classification, DeadLetter, LabelSetResult

BINS = 50
"""Bins of a histogram of scores, each as wide as the others, from 0 to 1."""

MOST_UNKNOWN = 20
"""Labels of ``truth`` that no label set has, and that are named."""


class LabelTally(Written):
    """``matched`` counts rows; ``scores`` counts them by score, in ``BINS`` bins. ``evidence`` is
    of the rows whose truth is known, None if there are none."""

    matched: Count
    scores: tuple[Count, ...]
    evidence: LabelEvidence | None = None


class LabelSetTally(Written):
    rows: Count
    decisions: Mapping[str, Count]
    labels: Mapping[str, LabelTally]


class Summary(Written):
    """Counts of rows. ``rows`` = ``classified`` + ``failed`` + ``skipped``. ``copied`` of them took
    over what was found out about another row's object, and read none. ``codes`` counts the failed
    rows by code. ``bytes`` were read. ``seconds`` is how long it took. ``unknown_truth`` counts
    labels of the rows' truth that no label set of theirs has, the most frequent ones."""

    rows: Count = 0
    classified: Count = 0
    failed: Count = 0
    skipped: Count = 0
    copied: Count = 0
    bytes: Count = 0
    seconds: float = 0.0
    codes: Mapping[str, Count] = {}
    label_sets: Mapping[str, LabelSetTally] = {}
    unknown_truth: Mapping[str, Count] = {}

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            rows=self.rows + other.rows,
            classified=self.classified + other.classified,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            copied=self.copied + other.copied,
            bytes=self.bytes + other.bytes,
            seconds=self.seconds + other.seconds,
            codes=_sum(self.codes, other.codes),
            label_sets={
                name: _merged(self.label_sets.get(name), other.label_sets.get(name))
                for name in {**self.label_sets, **other.label_sets}
            },
            unknown_truth=most_frequent(_sum(self.unknown_truth, other.unknown_truth)),
        )

    @staticmethod
    def of_all(summaries: Iterable[Summary]) -> Summary:
        return sum(summaries, start=Summary())


class Tally:
    """Counts outcomes as they come. Not thread-safe."""

    def __init__(self) -> None:
        self.classified = self.failed = self.skipped = self.copied = self.bytes = 0
        self.codes: dict[str, int] = {}
        self._sets: dict[str, _Counted] = {}
        self._unknown: dict[str, int] = {}

    @property
    def rows(self) -> int:
        return self.classified + self.failed + self.skipped

    def add(
        self,
        outcome: Classification | DeadLetter | None,
        truth: Collection[str] | None = None,
        *,
        copied: bool = False,
    ) -> None:
        """None: the row was skipped by its route. ``truth`` are the labels that are true of the
        image; None if nobody knows. ``copied``: the row's own object was not read."""
        self.copied += copied
        if outcome is None:
            self.skipped += 1
        elif isinstance(outcome, DeadLetter):
            self.failed += 1
            self.codes[outcome.code] = self.codes.get(outcome.code, 0) + 1
        else:
            self.classified += 1
            self.bytes += 0 if copied else outcome.looked.size_bytes
            for result in outcome.results:
                counted = self._sets.get(result.label_set)
                if counted is None:
                    counted = self._sets[result.label_set] = _Counted(result)
                counted.add(result, truth)
            if truth:
                known = {each.label for result in outcome.results for each in result.scores}
                for label in set(truth) - known:
                    self._unknown[label] = self._unknown.get(label, 0) + 1

    def summary(self, seconds: float) -> Summary:
        return Summary(
            rows=self.rows,
            classified=self.classified,
            failed=self.failed,
            skipped=self.skipped,
            copied=self.copied,
            bytes=self.bytes,
            seconds=seconds,
            codes=dict(sorted(self.codes.items())),
            label_sets={name: counted.tally() for name, counted in sorted(self._sets.items())},
            unknown_truth=most_frequent(self._unknown),
        )


class _Counted:
    """Counts the results of one label set."""

    def __init__(self, first: LabelSetResult) -> None:
        self._rows = 0
        self._decisions: dict[str, int] = {}
        self._matched = {score.label: 0 for score in first.scores}
        self._scores = {score.label: [0] * BINS for score in first.scores}
        self._evidence: dict[str, EvidenceTally] = {}

    def add(self, result: LabelSetResult, truth: Collection[str] | None) -> None:
        self._rows += 1
        self._decisions[result.decision] = self._decisions.get(result.decision, 0) + 1
        for label in result.matched:
            self._matched[label] += 1
        for each in result.scores:
            place = min(BINS - 1, int(each.score * BINS))
            self._scores[each.label][place] += 1
            if truth is not None:
                self._judged(each.label).add(
                    place, true=each.label in truth, matched=each.label in result.matched
                )

    def _judged(self, label: str) -> EvidenceTally:
        found = self._evidence.get(label)
        if found is None:
            found = self._evidence[label] = EvidenceTally(BINS)
        return found

    def tally(self) -> LabelSetTally:
        return LabelSetTally(
            rows=self._rows,
            decisions=dict(sorted(self._decisions.items())),
            labels={
                label: LabelTally(
                    matched=self._matched[label],
                    scores=tuple(bins),
                    evidence=self._evidence[label].evidence() if label in self._evidence else None,
                )
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
        labels={label: _together(one.labels[label], other.labels[label]) for label in one.labels},
    )


def _together(one: LabelTally, other: LabelTally) -> LabelTally:
    if one.evidence is None or other.evidence is None:
        evidence = one.evidence or other.evidence
    else:
        evidence = one.evidence + other.evidence
    return LabelTally(
        matched=one.matched + other.matched,
        scores=tuple(a + b for a, b in zip(one.scores, other.scores, strict=True)),
        evidence=evidence,
    )


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent ones, so that free text as truth does not grow without bound."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return dict(ordered[:MOST_UNKNOWN])
