"""The rows of a shard that were classified, in the order in which they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import EMBEDDING, REPEATING, results
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
        dimension: int | None,
        dtype: str,
        *,
        store_schema: bool = True,
    ) -> None:
        """``label_sets`` have the labels of each. ``dimension`` is that of the embeddings; None
        writes none. ``store_schema`` keeps Arrow's schema.

        Raises:
            Halt: ``backfill.column_taken``.
        """
        self._label_sets = label_sets
        self._schema = results(label_sets, dimension, dtype)
        self._buffer = pa.BufferOutputStream()
        split = [f"{EMBEDDING}.list.element"] if dimension and dtype == "float32" else False
        self._writer = pq.ParquetWriter(
            self._buffer,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in self._schema.names if name in REPEATING],
            # Of float16, DuckDB and older Polars cannot read it.
            use_byte_stream_split=split,
            store_schema=store_schema,
        )

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
        for name in self._label_sets:
            columns[name] = self._results(name, outcomes)
        if EMBEDDING in self._schema.names:
            columns[EMBEDDING] = self._embeddings(outcomes)
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
            for field in self._schema
            for column in [columns[field.name]]
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self, metadata: Mapping[str, object]) -> bytes:
        """The file. ``metadata`` becomes the key ``clipstream`` of the file's metadata, as JSON."""
        self._writer.add_key_value_metadata({"clipstream": as_json(metadata)})
        self._writer.close()
        body: bytes = self._buffer.getvalue().to_pybytes()
        return body

    def _results(self, name: str, outcomes: Sequence[Classification]) -> pa.Array:
        """One label set's results. Null where the row's route did not ask for it."""
        found = [_result(each, name) for each in outcomes]
        kind = self._schema.field(name).type
        per_label = kind.field("scores").type
        count = per_label.num_fields
        values = np.zeros((len(found), 2, count))
        for index, result in enumerate(found):
            if result is not None:
                values[index, 0] = [each.score for each in result.scores]
                values[index, 1] = [each.similarity for each in result.scores]
        fields = [per_label.field(index) for index in range(count)]
        scores, similarities = (
            pa.StructArray.from_arrays(
                [pa.array(np.ascontiguousarray(values[:, which, each])) for each in range(count)],
                fields=fields,
            )
            for which in (0, 1)
        )
        return pa.StructArray.from_arrays(
            [
                pa.array([each and each.decision for each in found], pa.string()),
                pa.array([each and each.matched for each in found], pa.list_(pa.string())),
                scores,
                similarities,
            ],
            fields=[kind.field(index) for index in range(kind.num_fields)],
            mask=pa.array([each is None for each in found]),
        )

    def _embeddings(self, outcomes: Sequence[Classification]) -> pa.Array:
        kind = self._schema.field(EMBEDDING).type
        flat = np.concatenate([each.looked.embedding for each in outcomes])
        values = pa.array(flat, type=kind.value_type)
        return pa.FixedSizeListArray.from_arrays(values, type=kind)


def _result(outcome: Classification, name: str) -> LabelSetResult | None:
    return next((each for each in outcome.results if each.label_set == name), None)
