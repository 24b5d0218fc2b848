"""A data file scored again from its embeddings, with other label sets."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import FAILURES, IMAGE, OBJECT, TRUTH, VIEWS, Stored
from pipeline.adapters.parquet.committed import (
    CommittedFile,
    has_value,
    matched_by,
    scores_of,
    vectors,
    views_of,
    whole,
    without_embeddings,
)
from pipeline.adapters.parquet.failures import failures_table_bytes
from pipeline.adapters.parquet.results import ResultsFile
from pipeline.adapters.parquet.scored import scored
from pipeline.adapters.parquet.tally import TableSampler, TableTally
from pipeline.backfill.changes import SAMPLES, Change, Changes, LabelSetChanges, Sample
from pipeline.backfill.report.samples import Samples
from pipeline.backfill.summary import Summary
from pipeline.labels.blocks import Block, RaisedBlock, raise_block, score_views
from pipeline.labels.label_set import REASONS
from pipeline.labels.scoring import CompiledLabelSet, CompiledLabelSets

KEPT = [column.name for column in (*OBJECT, *IMAGE, TRUTH)]
"""Columns that do not depend on label sets."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """``results`` lack only their metadata. ``summary`` and ``changes`` sum the rows up; the
    summary has no counts of rows."""

    results: ResultsFile
    summary: Summary
    samples: Samples
    changes: Changes


def rescore_rows(
    file: CommittedFile, scoring: CompiledLabelSets, shard: int, *, store_schema: bool = True
) -> Rescored:
    """The rows of ``file`` with the scores of ``scoring`` and without embeddings, in the same order
    and row groups.

    A label set with the name of one of the file's scores the rows that had that one. A label set
    with a new name scores every row.

    Raises:
        Reject: ``encode.non_finite``.
        Halt: ``backfill.column_taken``.
    """
    compiled = {each.label_set.name: each for each in scoring}
    labels = {
        name: [label.name for label in each.label_set.labels] for name, each in compiled.items()
    }
    stored = Stored(None, views=file.has_views)
    results = ResultsFile(labels, stored, store_schema=store_schema)
    kept = [*KEPT, *([VIEWS.name] if file.has_views else [])]
    compared = [name for name in compiled if name in file.label_sets]
    tally, sampler, changes = TableTally(labels), TableSampler(shard, labels), Changes()
    for table in file.groups([*kept, *compared, "embedding"]):
        columns: dict[str, Any] = {name: table.column(name) for name in KEPT}
        embeddings, firsts, seen = vectors(table), np.arange(len(table)), None
        if file.has_views:
            embeddings, firsts, seen = views_of(table)
            columns[VIEWS.name] = without_embeddings(table, results.type_of(VIEWS.name))
        # Once for all label sets.
        embeddings = embeddings.astype(np.float64)
        cropped, frames = (whole(table.column(name)).to_numpy() for name in REASONS)
        changes_here = {}
        for name, each in compiled.items():
            before = whole(table.column(name)) if name in compared else None
            block, places = score_views(each, embeddings, firsts)
            present = np.ones(len(table), dtype=np.bool_) if before is None else has_value(before)
            block.matched[~present] = False
            raised = raise_block(each.label_set, block.decisions, cropped, frames, seen)
            column = columns[name] = _column(
                results.type_of(name),
                each,
                block,
                raised,
                present,
                places.astype(np.int32) if file.has_views else None,
            )
            if before is not None:
                told = _Told(table, shard)
                changes_here[name] = told.changes(before, column, file.label_sets[name], block)
        results.write_columns(columns)
        tally.add(columns, whole(table.column(TRUTH.name)))
        sampler.add(table, columns)
        changes += Changes(label_sets=changes_here)
    samples = sampler.samples(file.footer.samples)
    return Rescored(results, tally.summary, samples, changes)


def rescore_failures(body: bytes, scoring: CompiledLabelSets, before: Collection[str]) -> bytes:
    """An errors file whose rows have the label sets of ``scoring`` that would have scored them, by
    the rule of ``rescore_rows``, and their action for images that nobody looked at. ``before`` are
    the label sets of the job. A row that its route refused stays as it is."""
    table = pq.read_table(io.BytesIO(body), schema=FAILURES, use_threads=False)
    names = [each.label_set.name for each in scoring]
    rows = table.to_pylist()
    for row in rows:
        if not row["code"].startswith("reference."):
            asked = row["label_sets"] or names
            row["label_sets"] = [name for name in names if name in asked or name not in before]
            row["unclassified_action"] = scoring.unclassified_action(row["label_sets"])
    return failures_table_bytes(pa.Table.from_pylist(rows, schema=FAILURES))


def _column(
    kind: pa.DataType,
    compiled: CompiledLabelSet,
    block: Block,
    raised: RaisedBlock,
    present: npt.NDArray[np.bool_],
    views: npt.NDArray[np.int32] | None,
) -> pa.Array:
    label_set = compiled.label_set
    actions = pa.array(label_set.actions, pa.string())
    labels = [label.name for label in label_set.labels]
    return scored(
        kind,
        present,
        actions.take(pa.array(raised.decisions)),
        _names(block.matched, labels, kind.field("matched").type),
        block.scores,
        block.similarities,
        _names(raised.reasons, REASONS, kind.field("raised").type),
        actions.take(pa.array(block.decisions)),
        pa.repeat(label_set.shadow, len(present)),
        block.probabilities,
        views,
    )


def _names(chosen: npt.NDArray[np.bool_], names: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Lists of the names whose places are chosen, [rows, names]."""
    offsets = np.zeros(len(chosen) + 1, dtype=np.int32)
    np.cumsum(chosen.sum(axis=1), out=offsets[1:])
    values = pa.array(names, pa.string()).take(pa.array(np.nonzero(chosen)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)


class _Told:
    """Finds samples in some rows of a shard."""

    def __init__(self, table: pa.Table, shard: int) -> None:
        self._table = table
        self._shard = shard

    def changes(
        self, before: pa.Array, after: pa.Array, labels_before: Sequence[str], block: Block
    ) -> LabelSetChanges:
        labels_after = [field.name for field in after.type.field("scores").type]
        every = list(dict.fromkeys([*labels_after, *labels_before]))
        matched_before = _spread(matched_by(before, labels_before), labels_before, every)
        matched_after = _spread(block.matched, labels_after, every)
        matches: dict[str, Change] = {}
        matches_no_more: dict[str, Change] = {}
        for place, label in enumerate(every):
            was, now = matched_before[:, place], matched_after[:, place]
            score_before = _scores(before, label, labels_before)
            score_after = _scores(after, label, labels_after)
            for found, rows in ((matches, now & ~was), (matches_no_more, was & ~now)):
                if rows.any():
                    found[label] = self._change(rows, score_before, score_after)
        return LabelSetChanges(
            rows=len(before) - before.null_count,
            decisions=self._decisions(before.field("decision"), after.field("decision")),
            matches=matches,
            matches_no_more=matches_no_more,
        )

    def _decisions(self, before: pa.Array, after: pa.Array) -> dict[str, Change]:
        differing = pc.fill_null(pc.not_equal(before, after), False)
        rows = np.flatnonzero(differing.to_numpy(zero_copy_only=False))
        if not len(rows):
            return {}
        pairs = pc.binary_join_element_wise(before.take(rows), after.take(rows), " -> ").to_numpy(
            zero_copy_only=False
        )
        return {
            pair: self._change(_mask(len(before), rows[pairs == pair]))
            for pair in sorted(set(pairs))
        }

    def _change(
        self, rows: npt.NDArray[np.bool_], *scores: Callable[[int], float | None]
    ) -> Change:
        return Change(
            rows=int(rows.sum()),
            samples=tuple(
                Sample(
                    uri=f"s3://{self._cell('bucket', row)}/{self._cell('key', row)}",
                    shard=self._shard,
                    row=self._cell("row", row),
                    **dict(
                        zip(("before", "after"), (score(row) for score in scores), strict=False)
                    ),
                )
                for row in np.flatnonzero(rows)[:SAMPLES].tolist()
            ),
        )

    def _cell(self, column: str, row: int) -> object:
        return self._table.column(column)[row].as_py()


def _scores(column: pa.Array, label: str, labels: Sequence[str]) -> Callable[[int], float | None]:
    if label not in labels:
        return lambda row: None
    values = scores_of(column, label)
    return lambda row: float(values[row])


def _spread(
    matched: npt.NDArray[np.bool_], labels: Sequence[str], every: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """The same with a column for each of ``every``."""
    spread = np.zeros((len(matched), len(every)), dtype=np.bool_)
    spread[:, [every.index(label) for label in labels]] = matched
    return spread


def _mask(count: int, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(count, dtype=np.bool_)
    mask[rows] = True
    return mask
