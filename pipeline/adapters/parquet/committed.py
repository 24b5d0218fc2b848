"""A committed data file, read again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import EMBEDDING, TAKEN
from pipeline.backfill.summary import BINS, LabelSetTally, LabelTally
from pipeline.errors import Halt

METADATA = b"clipstream"
"""Key of the file's metadata that has what is constant in it, as a JSON object."""


class CommittedFile:
    """The rows of a data file, a row group at a time."""

    def __init__(self, body: bytes, name: str) -> None:
        """``name`` is for messages.

        Raises:
            Halt: ``backfill.unreadable``: this is no data file of a job.
        """
        try:
            self.file = pq.ParquetFile(io.BytesIO(body))
            self.metadata: Mapping[str, Any] = json.loads(self.file.metadata.metadata[METADATA])
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise Halt(
                "backfill.unreadable",
                f"{name}: is not a data file of a job ({error}); restore it, or remove it",
            ) from error
        self.schema: pa.Schema = self.file.schema_arrow
        self.label_sets: Mapping[str, Sequence[str]] = {
            field.name: [label.name for label in field.type.field("scores").type]
            for field in self.schema
            if field.name not in TAKEN
        }

    @property
    def stores_schema(self) -> bool:
        """Whether the file keeps Arrow's schema."""
        return b"ARROW:schema" in self.file.metadata.metadata

    @property
    def has_embeddings(self) -> bool:
        return EMBEDDING in self.schema.names

    def groups(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The row groups, with these columns or with all."""
        for group in range(self.file.metadata.num_row_groups):
            yield self.file.read_row_group(group, columns=columns, use_threads=False)


def vectors(table: pa.Table) -> npt.NDArray[np.floating]:
    """The embeddings of some rows: [rows, dimension] in their published type."""
    column = whole(table.column(EMBEDDING))
    if not len(column):
        return np.empty((0, 0), dtype=np.float32)
    flat: npt.NDArray[np.floating] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """One array of a column's chunks."""
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def matched_by(column: pa.Array, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which labels match which rows of a label set's column: [rows, labels]."""
    lists = column.field("matched")
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    places = pc.index_in(lists.flatten(), value_set=pa.array(labels, pa.string()))
    matched = np.zeros((len(column), len(labels)), dtype=np.bool_)
    rows = np.repeat(np.arange(len(column)), lengths)
    matched[rows, places.to_numpy(zero_copy_only=False).astype(np.intp)] = True
    return matched


def scores_of(column: pa.Array, label: str) -> npt.NDArray[np.float64]:
    """One label's scores; NaN where the label set was not asked for."""
    found: npt.NDArray[np.float64] = (
        column.field("scores").field(label).to_numpy(zero_copy_only=False)
    )
    return np.where(column.is_valid().to_numpy(zero_copy_only=False), found, np.nan)


def tallied(column: pa.Array, labels: Sequence[str]) -> LabelSetTally:
    """What a label set's column says in sum."""
    present = column.drop_null()
    decisions = pc.value_counts(present.field("decision")).to_pylist()
    matched = matched_by(present, labels).sum(axis=0)
    return LabelSetTally(
        rows=len(present),
        decisions=dict(sorted((each["values"], each["counts"]) for each in decisions)),
        labels={
            label: LabelTally(
                matched=int(matched[place]), scores=_binned(scores_of(present, label))
            )
            for place, label in enumerate(labels)
        },
    )


def _binned(scores: npt.NDArray[np.float64]) -> tuple[int, ...]:
    places = np.minimum((scores * BINS).astype(np.intp), BINS - 1)
    return tuple(np.bincount(places, minlength=BINS).tolist())
