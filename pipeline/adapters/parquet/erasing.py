"""Files without some of their rows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import FAILURES, TRUTH
from pipeline.adapters.parquet.committed import CommittedFile, whole
from pipeline.adapters.parquet.failures import failures_table_bytes
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.adapters.parquet.results import results_writer
from pipeline.adapters.parquet.tally import TableTally
from pipeline.adapters.parquet.values import as_json
from pipeline.backfill.erasure import Targets


@dataclass(frozen=True, slots=True)
class Rest:
    """A file without the rows that were to be erased. ``erased`` are the numbers of these rows."""

    body: bytes
    erased: tuple[int, ...]


def without_plan_rows(body: bytes, targets: Targets) -> Rest:
    """A plan file whose erased rows are null in every column, so that the others keep their
    numbers."""
    table = pq.read_table(io.BytesIO(body), use_threads=False)
    hit = _hits(table, targets)
    places = pa.array(np.arange(len(table)), mask=hit)
    return Rest(plan_bytes(table.take(places)), tuple(np.flatnonzero(hit).tolist()))


def without_failures(body: bytes, targets: Targets) -> tuple[Rest, Mapping[str, int]]:
    """An errors file, and how often each code is left in it."""
    table = pq.read_table(io.BytesIO(body), schema=FAILURES, use_threads=False)
    hit = _hits(table, targets)
    left = table.filter(pa.array(~hit))
    codes = pc.value_counts(left.column("code")).to_pylist()
    return (
        Rest(failures_table_bytes(left), _rows(table, hit)),
        dict(sorted((each["values"], each["counts"]) for each in codes)),
    )


def results_to_erase(file: CommittedFile, targets: Targets) -> tuple[int, ...]:
    """The numbers of the rows of a data file that are to be erased."""
    tables = file.groups(["row", "bucket", "key"])
    return tuple(row for table in tables for row in _rows(table, _hits(table, targets)))


def without_results(
    file: CommittedFile,
    targets: Targets,
    failures: Mapping[str, int],
    failed: Sequence[int],
    **metadata: object,
) -> bytes:
    """A data file without rows to be erased, counted anew. ``failures`` are how often each code is
    left in the shard's errors file, and ``failed`` the rows that were erased from it. ``metadata``
    replaces what the file says of itself."""
    buffer = io.BytesIO()
    schema = pa.schema([field.remove_metadata() for field in file.schema])
    writer = results_writer(buffer, schema, store_schema=file.stores_schema)
    counted = TableTally(file.label_sets)
    rows = size = 0
    gone = set(failed)
    for table in file.groups():
        hit = _hits(table, targets)
        gone.update(_rows(table, hit))
        left = table.filter(pa.array(~hit)).cast(schema)
        rows += len(left)
        size += pc.sum(left.column("size_bytes")).as_py() or 0
        columns = {name: whole(left.column(name)) for name in (*file.label_sets, TRUTH.name)}
        counted.add(columns, columns[TRUTH.name])
        if len(left):
            writer.write_table(left)
    before = file.footer.summary
    failures_left = sum(failures.values())
    summary = counted.summary.model_copy(
        update={
            "rows": rows + failures_left + before.skipped,
            "classified": rows,
            "failed": failures_left,
            "skipped": before.skipped,
            # The file does not say which rows are copies, whose bytes were not read.
            "copied": min(before.copied, rows + failures_left),
            "bytes": min(size, before.bytes) if before.copied else size,
            "seconds": before.seconds,
            "codes": failures,
        }
    )
    footer = file.footer.model_copy(update={"summary": summary})
    cleaned = targets.without(footer.model_dump(mode="json"), gone)
    if not isinstance(cleaned, dict):
        raise TypeError("metadata is an object")
    writer.add_key_value_metadata({"clipstream": as_json({**cleaned, **metadata})})
    writer.close()
    return buffer.getvalue()


def without_rows(body: bytes, targets: Targets) -> bytes | None:
    """Any other file with the columns ``bucket`` and ``key``; None if it names no target."""
    table = pq.read_table(io.BytesIO(body), use_threads=False)
    if not {"bucket", "key"} <= set(table.column_names):
        return None
    hit = _hits(table, targets)
    if not hit.any():
        return None
    buffer = io.BytesIO()
    pq.write_table(table.filter(pa.array(~hit)), buffer, compression="zstd")
    return buffer.getvalue()


def _hits(table: pa.Table, targets: Targets) -> npt.NDArray[np.bool_]:
    """Which rows are to be erased."""
    keys, buckets = table.column("key"), table.column("bucket")
    hit = _one_of(keys, targets.keys)
    for bucket, in_bucket in targets.in_bucket.items():
        here = pc.fill_null(pc.equal(buckets, bucket), False).to_numpy()
        hit |= here & _one_of(keys, in_bucket)
    return hit


def _one_of(keys: pa.ChunkedArray, wanted: frozenset[str] | set[str]) -> npt.NDArray[np.bool_]:
    found = pc.is_in(keys, value_set=pa.array(sorted(wanted), pa.string()))
    hit: npt.NDArray[np.bool_] = found.to_numpy().copy()
    return hit


def _rows(table: pa.Table, hit: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(table.column("row").filter(pa.array(hit)).to_pylist())
