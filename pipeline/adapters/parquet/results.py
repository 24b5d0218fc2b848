"""The rows of a shard that were classified, in the order in which they were."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import (
    EMBEDDING,
    REPEATING,
    VIEWS,
    Stored,
    leaves,
    results,
)
from pipeline.adapters.parquet.scored import scored
from pipeline.adapters.parquet.values import as_json, object_columns
from pipeline.backfill.rows import PlanRow
from pipeline.content import content_id
from pipeline.records import Classification, LabelSetResult

GROUP_ROWS = 10_000
"""Rows of a row group: what a reader needs in memory at a time."""

Result = tuple[PlanRow, Classification]


class ResultsFile:
    """Grows in memory, a row group at a time. Not thread-safe."""

    def __init__(
        self,
        label_sets: Mapping[str, Sequence[str]],
        stored: Stored,
        *,
        store_schema: bool = True,
    ) -> None:
        """``label_sets`` have the labels of each. ``store_schema`` keeps Arrow's schema.

        Raises:
            Halt: ``backfill.column_taken``.
        """
        self._label_sets = label_sets
        self._stored = stored
        self._schema = results(label_sets, stored)
        # Unlike Arrow's own stream, it hands its bytes over without a copy.
        self._buffer = io.BytesIO()
        self._writer = results_writer(self._buffer, self._schema, store_schema=store_schema)

    def write(self, rows: Sequence[Result]) -> None:
        """Add a row group."""
        if not rows:
            return
        columns: dict[str, Any] = object_columns([row for row, _ in rows])
        outcomes = [outcome for _, outcome in rows]
        columns["etag"] = [each.etag for each in outcomes]
        columns["version_id"] = [each.version_id for each in outcomes]
        columns["content_id"] = [
            content_id(each.looked, each.ref.uri, each.etag, each.version_id) for each in outcomes
        ]
        columns["sha256"] = [each.looked.sha256 for each in outcomes]
        columns["size_bytes"] = [each.looked.size_bytes for each in outcomes]
        for name in ("format", "width", "height", "frames", "cropped_share"):
            columns[name] = [getattr(each.looked.image, name) for each in outcomes]
        columns["truth"] = [row.truth for row, _ in rows]
        columns["tenant"] = [each.ref.tenant for each in outcomes]
        for name in self._label_sets:
            columns[name] = self._results(name, outcomes)
        if self._stored.views:
            kind = self.type_of(VIEWS.name)
            columns[VIEWS.name] = pa.array([self._views(each) for each in outcomes], type=kind)
        if EMBEDDING in self._schema.names:
            columns[EMBEDDING] = self._embeddings(outcomes)
        self.write_columns(columns)

    def type_of(self, column: str) -> pa.DataType:
        return self._schema.field(column).type

    def write_columns(self, columns: Mapping[str, Any]) -> None:
        """Add a row group. ``columns`` has the values of each column by its name: an Arrow array of
        the column's type, or a list."""
        arrays = [
            column
            if isinstance(column, pa.Array | pa.ChunkedArray)
            else pa.array(column, type=field.type)
            for field in self._schema
            for column in [columns[field.name]]
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self, metadata: Mapping[str, object]) -> bytes:
        """The file. ``metadata`` becomes the key ``clipstream`` of the file's metadata, as JSON."""
        self._writer.add_key_value_metadata({"clipstream": as_json(metadata)})
        self._writer.close()
        return self._buffer.getvalue()

    def _results(self, name: str, outcomes: Sequence[Classification]) -> pa.Array:
        """One label set's results. Null where the row's route did not ask for it."""
        found = [_result(each, name) for each in outcomes]
        kind = self._schema.field(name).type
        present = np.array([each is not None for each in found])
        asked = [each for each in found if each is not None]
        count = len(self._label_sets[name])
        values = np.zeros((3, len(found), count))
        for at, value in enumerate(("score", "similarity", "probability")):
            flat = [getattr(score, value) for each in asked for score in each.scores]
            # None becomes a NaN.
            values[at, present] = np.reshape(np.array(flat, np.float64), (len(asked), count))
        return scored(
            kind,
            present,
            pa.array([each and each.decision for each in found], pa.string()),
            pa.array([each and each.matched for each in found], kind.field("matched").type),
            values[0],
            values[1],
            pa.array([each and each.raised for each in found], kind.field("raised").type),
            pa.array([each and _labels_decision(each) for each in found], pa.string()),
            pa.array([each and each.shadow for each in found], pa.bool_()),
            values[2],
            self._places(found, present, count) if self._stored.views else None,
        )

    def _places(
        self,
        found: Sequence[LabelSetResult | None],
        present: npt.NDArray[np.bool_],
        labels: int,
    ) -> npt.NDArray[np.int32]:
        """The view of each score: [rows, labels]."""
        places = np.zeros((len(found), labels), np.int32)
        flat = [score.view or 0 for each in found if each is not None for score in each.scores]
        places[present] = np.reshape(flat, (int(present.sum()), labels))
        return places

    def _views(self, outcome: Classification) -> list[dict[str, Any]] | None:
        """An outcome's views as entries of the column; None if there is one alone."""
        if (views := outcome.looked.views) is None:
            return None
        entries = [asdict(place) for place in views.places]
        if self._stored.view_embeddings and self._stored.dimension is not None:
            # The first one's is the row's.
            for entry, embedding in zip(entries[1:], views.embeddings[1:], strict=True):
                entry[EMBEDDING] = embedding
        return entries

    def _embeddings(self, outcomes: Sequence[Classification]) -> pa.Array:
        kind = self._schema.field(EMBEDDING).type
        flat = np.concatenate([each.looked.embedding for each in outcomes])
        values = pa.array(flat, type=kind.value_type)
        return pa.FixedSizeListArray.from_arrays(values, type=kind)


def results_writer(
    sink: io.BytesIO, schema: pa.Schema, *, store_schema: bool = True
) -> pq.ParquetWriter:
    """Writes rows with the columns of results."""
    elements = [path for path in leaves(schema) if path.endswith(f"{EMBEDDING}.list.element")]
    vectors = schema.field(EMBEDDING).type.value_type if EMBEDDING in schema.names else None
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in schema.names if name in REPEATING],
        # Of float16, DuckDB and older Polars cannot read it.
        use_byte_stream_split=elements if vectors == pa.float32() else False,
        # An embedding's least and largest element help no reader.
        write_statistics=[path for path in leaves(schema) if path not in elements],
        store_schema=store_schema,
    )


def _labels_decision(result: LabelSetResult) -> str:
    return result.decision if result.labels_decision is None else result.labels_decision


def _result(outcome: Classification, name: str) -> LabelSetResult | None:
    return next((each for each in outcome.results if each.label_set == name), None)
