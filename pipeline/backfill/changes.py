"""What other label sets change about a job's rows: labels and decisions, with samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TypeVar

from pipeline.backfill.job import Count, Written

SAMPLES = 5
"""Samples of each change. The first ones of each shard are kept."""

Value = TypeVar("Value")


class Sample(Written):
    """A row that changed. ``before`` and ``after`` are the label's scores; None where the label
    set of that time has no such label, and for decisions, which no single score explains."""

    uri: str
    shard: Count
    row: Count
    before: float | None = None
    after: float | None = None


class Change(Written):
    rows: Count
    samples: tuple[Sample, ...] = ()

    def __add__(self, other: Change) -> Change:
        return Change(rows=self.rows + other.rows, samples=(self.samples + other.samples)[:SAMPLES])


class LabelSetChanges(Written):
    """``rows`` were compared. ``decisions`` maps a decision before and the one after, such as
    ``allow -> review``, to the rows that changed so. ``matches`` and ``matches_no_more`` map a
    label to the rows that match it now and did not before, and the other way round."""

    rows: Count = 0
    decisions: Mapping[str, Change] = {}
    matches: Mapping[str, Change] = {}
    matches_no_more: Mapping[str, Change] = {}

    def __add__(self, other: LabelSetChanges) -> LabelSetChanges:
        return LabelSetChanges(
            rows=self.rows + other.rows,
            decisions=_merged(self.decisions, other.decisions, Change.__add__),
            matches=_merged(self.matches, other.matches, Change.__add__),
            matches_no_more=_merged(self.matches_no_more, other.matches_no_more, Change.__add__),
        )

    @property
    def changed(self) -> int:
        """Rows whose decision is another one."""
        return sum(change.rows for change in self.decisions.values())


class Changes(Written):
    """By label set. A label set that the job did not have has nothing to compare with."""

    label_sets: Mapping[str, LabelSetChanges] = {}

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            label_sets=_merged(self.label_sets, other.label_sets, LabelSetChanges.__add__)
        )

    @staticmethod
    def of_all(changes: Iterable[Changes]) -> Changes:
        return reduce(Changes.__add__, changes, Changes())


def _merged(
    one: Mapping[str, Value], other: Mapping[str, Value], add: Callable[[Value, Value], Value]
) -> dict[str, Value]:
    names = sorted(one.keys() | other.keys())
    return {
        name: add(one[name], other[name])
        if name in one and name in other
        else {**one, **other}[name]
        for name in names
    }
