"""What became of a shard's rows, read back from its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import EMBEDDING, VIEWS
from pipeline.adapters.parquet.footer import open_results
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.backfill.rows import PlanRow
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    LabelScore,
    LabelSetResult,
    Looked,
)
from pipeline.records.views import LookedViews, View

_AT_ONCE = 1_000
"""Rows that are Python objects at a time."""

PLACE = tuple(each.name for each in fields(View))
"""What an entry of ``views`` says beside the embedding."""

NO_EMBEDDING = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """One row of a shard. ``content_id`` is empty for a dead letter. The embedding of a
    classification is empty where the job wrote none."""

    row: int
    outcome: Classification | DeadLetter
    content_id: str = ""


class ResultsOfShard:
    """A results file. Its metadata is read at once, its rows when they are asked for."""

    def __init__(self, body: bytes, name: str) -> None:
        """
        Raises:
            Halt: ``backfill.unreadable``.
        """
        self._file, footer = open_results(body, name)
        self.errors_file = footer.errors_file
        self._identity = footer.identity
        self._model = footer.identity.of_model

    def outcomes(
        self, plan: bytes, errors: bytes | None, from_row: int = 0
    ) -> Iterator[StoredOutcome]:
        """What became of the rows from ``from_row`` on, in the order of the plan. ``plan`` and
        ``errors`` are the files of this shard. Rows that their route skipped are left out."""
        rows = list(plan_rows(plan))
        failed = iter(_failures(errors, rows, from_row)) if errors is not None else iter(())
        waiting = next(failed, None)
        for stored in self._classified(rows, from_row):
            while waiting is not None and waiting.row < stored.row:
                yield waiting
                waiting = next(failed, None)
            yield stored
        while waiting is not None:
            yield waiting
            waiting = next(failed, None)

    def _classified(self, rows: Sequence[PlanRow], from_row: int) -> Iterator[StoredOutcome]:
        table = self._file.read()
        label_sets = [name for name in self._identity.label_sets if name in table.column_names]
        label_sets.sort(key=table.column_names.index)
        vectors = EMBEDDING in table.column_names
        numbers = table.column("row")
        order = pc.sort_indices(numbers)
        begin = pc.sum(pc.less(numbers, from_row)).as_py() or 0
        plain = table.drop_columns([EMBEDDING]) if vectors else table
        for at in range(begin, table.num_rows, _AT_ONCE):
            some = order.slice(at, _AT_ONCE)
            embeddings = _vectors(table.column(EMBEDDING).take(some)) if vectors else None
            for index, values in enumerate(plain.take(some).to_pylist()):
                vector = NO_EMBEDDING if embeddings is None else embeddings[index]
                outcome = self._classification(rows[values["row"]], values, label_sets, vector)
                yield StoredOutcome(values["row"], outcome, values["content_id"])

    def _classification(
        self,
        row: PlanRow,
        values: Mapping[str, Any],
        label_sets: Sequence[str],
        vector: Any,
    ) -> Classification:
        identity = self._identity
        results = tuple(
            _result(name, identity.label_sets[name], values[name], bool(values.get(VIEWS.name)))
            for name in label_sets
            if values[name] is not None
        )
        views = _looked_views(values.get(VIEWS.name), vector)
        looked = Looked(
            vector,
            self._model,
            ImageFacts(
                values["format"],
                values["width"],
                values["height"],
                values["frames"],
                values["cropped_share"],
                1 if views is None else len({place.frame for place in views.places}),
            ),
            values["sha256"],
            values["size_bytes"],
            identity.decode_mode,
            identity.decode_crop,
            views,
        )
        ref = row.ref(tuple(result.label_set for result in results), values["tenant"])
        return Classification(ref, looked, results, values["etag"], values["version_id"])


def _failures(body: bytes, rows: Sequence[PlanRow], from_row: int) -> Iterator[StoredOutcome]:
    table = pq.read_table(pa.BufferReader(body)).sort_by("row")
    for values in table.filter(pc.greater_equal(table.column("row"), from_row)).to_pylist():
        row = rows[values["row"]]
        label_sets = values.get("label_sets")
        ref = row.ref(tuple(row.label_sets if label_sets is None else label_sets), values["tenant"])
        letter = DeadLetter(
            values["code"],
            values["message"],
            values["attempts"],
            ref=ref,
            unclassified_action=values["unclassified_action"],
            format=values["format"],
        )
        yield StoredOutcome(row.number, letter)


def _looked_views(entries: Sequence[Mapping[str, Any]] | None, vector: Any) -> LookedViews | None:
    """The embeddings are empty, [views, 0], where the job wrote none of views."""
    if not entries:
        return None
    places = tuple(View(**{name: each[name] for name in PLACE}) for each in entries)
    rest = [each.get(EMBEDDING) for each in entries[1:]]
    if not vector.size or any(each is None for each in rest):
        return LookedViews(places, np.zeros((len(places), 0), np.float32))
    return LookedViews(places, np.stack([vector, *(np.array(each, vector.dtype) for each in rest)]))


def _result(name: str, version: str, values: Mapping[str, Any], has_views: bool) -> LabelSetResult:
    similarities = values["similarities"]
    views = values["views"] if has_views else {}
    probabilities = values.get("probabilities") or {}
    scores = tuple(
        LabelScore(label, score, similarities[label], views.get(label), probabilities.get(label))
        for label, score in values["scores"].items()
    )
    raised = tuple(values.get("raised") or ())
    return LabelSetResult(
        name,
        version,
        scores,
        tuple(values["matched"]),
        values["decision"],
        raised=raised,
        labels_decision=values["labels_decision"] if raised else None,
        shadow=values.get("shadow", False),
    )


def _vectors(column: pa.ChunkedArray) -> Any:
    """[rows, dimension], of the column's element type."""
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return flat.reshape(len(column), -1)
