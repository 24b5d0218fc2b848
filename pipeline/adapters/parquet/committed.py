"""A committed data file, read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.parquet.columns import EMBEDDING, TAKEN, VIEWS
from pipeline.adapters.parquet.footer import open_results
from pipeline.backfill.report.samples import SampledObject

_OBJECT = list(SampledObject.model_fields)


class CommittedFile:
    """The rows of a data file, a row group at a time. ``footer`` is what it says about itself."""

    def __init__(self, body: bytes, name: str) -> None:
        """``name`` is for messages.

        Raises:
            Halt: ``backfill.unreadable``: this is no data file of a job.
        """
        self.file, self.footer = open_results(body, name)
        self.schema: pa.Schema = self.file.schema_arrow
        self.label_sets: Mapping[str, Sequence[str]] = {
            field.name: [label.name for label in field.type.field("scores").type]
            for field in self.schema
            if field.name not in TAKEN and pa.types.is_struct(field.type)
        }

    @property
    def stores_schema(self) -> bool:
        """Whether the file keeps Arrow's schema."""
        return b"ARROW:schema" in self.file.metadata.metadata

    @property
    def has_views(self) -> bool:
        """Whether rows list the views of their images."""
        return self.footer.identity.has_views

    @property
    def has_view_embeddings(self) -> bool:
        if not self.has_views:
            return False
        names = [field.name for field in self.schema.field(VIEWS.name).type.value_type]
        return EMBEDDING in names

    @property
    def has_embeddings(self) -> bool:
        return EMBEDDING in self.schema.names

    def groups(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The row groups, with these columns or with all."""
        for group in range(self.file.metadata.num_row_groups):
            yield self.file.read_row_group(group, columns=columns, use_threads=False)


def embedded(
    file: CommittedFile, label_set: str | None, rows: int
) -> Iterator[tuple[npt.NDArray[np.floating], list[SampledObject]]]:
    """The embeddings [images, dimension] of a file's rows, at most ``rows`` at a time, and their
    objects. If the file has the label set, only rows that it has scored."""
    own = [label_set] if label_set is not None and label_set in file.label_sets else []
    for table in file.groups([*_OBJECT, EMBEDDING, *own]):
        if own:
            table = table.filter(pa.array(has_value(whole(table.column(label_set)))))
        for start in range(0, len(table), rows):
            part = table.slice(start, rows)
            objects = [SampledObject(**each) for each in part.select(_OBJECT).to_pylist()]
            yield vectors(part), objects


def vectors(table: pa.Table) -> npt.NDArray[np.floating]:
    """The embeddings of some rows: [rows, dimension] in their published type."""
    column = whole(table.column(EMBEDDING))
    if not len(column):
        return np.empty((0, 0), dtype=np.float32)
    flat: npt.NDArray[np.floating] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)


def views_of(
    table: pa.Table,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The embeddings [views, dimension] of all views of some rows, the places of the rows' first
    views among them, and how many frames were seen of each: [rows]."""
    embeddings = vectors(table)
    column = whole(table.column(VIEWS.name))
    entries, rows = column.flatten(), parents(column)
    others = entries.field(EMBEDDING)
    further = has_value(others)
    flat = others.flatten().to_numpy(zero_copy_only=False)
    counts = np.ones(len(table), np.intp)
    np.add.at(counts, rows[further], 1)
    firsts = np.cumsum(counts) - counts
    found = np.empty((int(counts.sum()), embeddings.shape[1]), embeddings.dtype)
    is_first = np.zeros(len(found), np.bool_)
    is_first[firsts] = True
    found[is_first] = embeddings
    found[~is_first] = flat.reshape(-1, embeddings.shape[1])
    return found, firsts, frames_seen(table)


def without_embeddings(table: pa.Table, kind: pa.DataType) -> pa.Array:
    """The views of some rows, without their embeddings. ``kind`` is the type of such a column."""
    column = whole(table.column(VIEWS.name))
    entries = column.flatten()
    names = [field.name for field in kind.value_type]
    fields = list(kind.value_type)
    left = pa.StructArray.from_arrays([entries.field(name) for name in names], fields=fields)
    counts = pc.fill_null(pc.list_value_length(column), 0)
    offsets = np.concatenate(([0], np.cumsum(counts.to_numpy(zero_copy_only=False))))
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), left, type=kind, mask=column.is_null()
    )


def frames_seen(table: pa.Table) -> npt.NDArray[np.intp]:
    """How many frames the model saw of each row's image."""
    column = whole(table.column(VIEWS.name))
    frames = column.flatten().field("frame").to_numpy(zero_copy_only=False)
    pairs = np.unique(np.stack([parents(column), frames]).astype(np.intp), axis=1)
    counted = np.bincount(pairs[0], minlength=len(table))
    return np.maximum(counted, 1).astype(np.intp)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """One array of a column's chunks."""
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def matched_by(column: pa.Array, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which labels match which rows of a label set's column: [rows, labels]."""
    return named_in(column.field("matched"), labels)


def named_in(lists: pa.Array, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which labels are in which of some lists of text: [lists, labels]. Null names none."""
    places = pc.index_in(lists.flatten(), value_set=pa.array(labels, pa.string()))
    named = np.zeros((len(lists), len(labels)), dtype=np.bool_)
    rows = parents(lists)[has_value(places)]
    named[rows, places.drop_null().to_numpy().astype(np.intp)] = True
    return named


def parents(lists: pa.Array) -> npt.NDArray[np.intp]:
    """The row of each element of ``lists.flatten()``."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths)


def has_value(column: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows have a value."""
    valid: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def scores_of(column: pa.Array, label: str) -> npt.NDArray[np.float64]:
    """One label's scores; NaN where the label set was not asked for."""
    found: npt.NDArray[np.float64] = (
        column.field("scores").field(label).to_numpy(zero_copy_only=False)
    )
    return np.where(has_value(column), found, np.nan)
