"""Counts and samples the rows of a data file by its columns, as ``summary.Tally`` counts outcomes
and ``samples.Sampler`` draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.parquet.committed import (
    has_value,
    matched_by,
    named_in,
    parents,
    scores_of,
)
from pipeline.backfill.report.evidence import LabelEvidence
from pipeline.backfill.report.samples import (
    BANDS,
    PER_BAND,
    SampledObject,
    Sampler,
    Samples,
    Scored,
    lots,
)
from pipeline.backfill.summary import BINS, LabelSetTally, LabelTally, Summary, most_frequent

_OBJECT = list(SampledObject.model_fields)


class TableTally:
    """Counts rows as their tables come. ``labels`` are those of each label set."""

    def __init__(self, labels: Mapping[str, Sequence[str]]) -> None:
        self._labels = labels
        self._sum = Summary()
        self._unknown: Counter[str] = Counter()

    def add(self, results: Mapping[str, pa.Array], truth: pa.Array) -> None:
        """``results`` has the column of each label set, and ``truth`` the rows' column of that
        name: lists of labels, null where nobody knows."""
        counted = {
            name: _tallied(results[name], labels, truth) for name, labels in self._labels.items()
        }
        self._sum += Summary(label_sets=counted)
        if truth.null_count < len(truth):
            self._unknown.update(self._strangers(results, truth))

    @property
    def summary(self) -> Summary:
        """With ``label_sets`` and ``unknown_truth`` alone."""
        return self._sum.model_copy(update={"unknown_truth": most_frequent(self._unknown)})

    def _strangers(self, results: Mapping[str, pa.Array], truth: pa.Array) -> list[str]:
        """The labels of each row's truth that no label set of the row has."""
        flat, rows = truth.flatten(), parents(truth)
        known = np.zeros(len(flat), dtype=np.bool_)
        for name, labels in self._labels.items():
            here = pc.is_in(flat, value_set=pa.array(labels, pa.string()))
            known |= here.to_numpy(zero_copy_only=False) & has_value(results[name])[rows]
        strangers = flat.filter(pa.array(~known)).to_pylist()
        return [label for _, label in {*zip(rows[~known].tolist(), strangers, strict=True)}]


class TableSampler:
    """Samples the rows of one shard as their tables come. ``labels`` are those of each label
    set. The files do not say which rows are copies, so copies are drawn too."""

    def __init__(self, shard: int, labels: Mapping[str, Sequence[str]]) -> None:
        self._shard = shard
        self._labels = labels
        self._sampler = Sampler(shard)

    def add(self, table: pa.Table, results: Mapping[str, pa.Array]) -> None:
        """``table`` names rows and objects; ``results`` has the column of each label set."""
        if not len(table):
            return
        rows = table.column("row").to_numpy()
        order = np.argsort(lots(self._shard, rows.tolist()))
        for name, labels in self._labels.items():
            column = results[name]
            drawn = order[has_value(column)[order]]
            for label in labels:
                scores = scores_of(column, label)[drawn].astype(np.float64)
                bands = np.minimum((scores * BANDS).astype(np.int8), BANDS - 1)
                for band in range(BANDS):
                    for place in drawn[np.flatnonzero(bands == band)[:PER_BAND]].tolist():
                        self._sampler.keep(
                            (name, label, band),
                            int(rows[place]),
                            partial(_sample, table, column, label, place),
                        )

    def samples(self, failed: Samples) -> Samples:
        """With the failed rows of ``failed``, which other label sets do not change."""
        scored = self._sampler.samples()
        rows = {each.row for some in failed.failed.values() for each in some}
        objects = {row: each for row, each in failed.objects.items() if row in rows}
        return scored.model_copy(
            update={
                "objects": dict(sorted({**scored.objects, **objects}.items())),
                "failed": failed.failed,
            }
        )


def _tallied(column: pa.Array, labels: Sequence[str], truth: pa.Array) -> LabelSetTally:
    """What a label set's column says in sum."""
    present = column.drop_null()
    judged = truth.filter(column.is_valid())
    decisions = pc.value_counts(present.field("decision")).to_pylist()
    matched, true = matched_by(present, labels), named_in(judged, labels)
    known = has_value(judged)
    tallies = {}
    for place, label in enumerate(labels):
        bins = np.minimum((scores_of(present, label) * BINS).astype(np.intp), BINS - 1)
        tallies[label] = LabelTally(
            matched=int(matched[:, place].sum()),
            scores=_counts(bins),
            evidence=_evidence(bins, matched[:, place], true[:, place], known)
            if known.any()
            else None,
        )
    return LabelSetTally(
        rows=len(present),
        decisions=dict(sorted((each["values"], each["counts"]) for each in decisions)),
        labels=tallies,
    )


def _evidence(
    bins: npt.NDArray[np.intp],
    matched: npt.NDArray[np.bool_],
    true: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_],
) -> LabelEvidence:
    false = known & ~true
    return LabelEvidence(
        true_scores=_counts(bins[true]),
        false_scores=_counts(bins[false]),
        true_matched=int((matched & true).sum()),
        false_matched=int((matched & false).sum()),
    )


def _counts(bins: npt.NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(np.bincount(bins, minlength=BINS).tolist())


def _sample(
    table: pa.Table, column: pa.Array, label: str, place: int
) -> tuple[Scored, SampledObject]:
    result = column[place].as_py()
    scored = Scored(
        row=table.column("row")[place].as_py(),
        score=round(result["scores"][label], 4),
        decision=result["decision"],
    )
    (named,) = table.select(_OBJECT).slice(place, 1).to_pylist()
    return scored, SampledObject(**named)
