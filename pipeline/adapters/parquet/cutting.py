"""Cuts rows into shards, as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.parquet.columns import PLAN
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.errors import Halt
from pipeline.ports import ListedObject, ListedPage

Rows: TypeAlias = pa.Table
"""Some rows of a plan, with the columns of ``PLAN``."""

_LISTED_AT_ONCE = 10_000


class Cutter:
    """Cuts rows into shards of ``shard_rows``; the last one may be shorter. Memory holds one shard
    and what was given last."""

    def __init__(self, shard_rows: int, write: Callable[[int, bytes], object]) -> None:
        """``write`` stores a plan file by its shard."""
        self._shard_rows = shard_rows
        self._write = write
        self._waiting: list[Rows] = []
        self._waiting_rows = 0
        self._hash = hashlib.sha256()
        self.rows = self.shards = self.bytes = 0

    def add(self, rows: Rows) -> None:
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        while self._waiting_rows >= self._shard_rows:
            together = pa.concat_tables(self._waiting)
            self._cut(together.slice(0, self._shard_rows))
            rest = together.slice(self._shard_rows)
            self._waiting, self._waiting_rows = [rest], rest.num_rows

    def finish(self) -> str:
        """Cut what is left. Returns the hash of the plan: of the hashes of its files."""
        if self._waiting_rows:
            self._cut(pa.concat_tables(self._waiting))
            self._waiting, self._waiting_rows = [], 0
        return self._hash.hexdigest()

    def _cut(self, rows: Rows) -> None:
        body = plan_bytes(rows)
        self._hash.update(hashlib.sha256(body).digest())
        self._write(self.shards, body)
        self.shards += 1
        self.rows += rows.num_rows
        self.bytes += pc.sum(rows.column("size_bytes")).as_py() or 0


def listed(objects: Iterable[ListedObject | ListedPage]) -> Iterator[Rows]:
    """Rows of a listing."""
    some: list[ListedObject] = []
    for each in objects:
        if isinstance(each, ListedPage):
            yield _of_page(each)
            continue
        some.append(each)
        if len(some) == _LISTED_AT_ONCE:
            yield _of_objects(some)
            some = []
    if some:
        yield _of_objects(some)


def _of_objects(objects: Sequence[ListedObject]) -> Rows:
    return complete(
        {
            "bucket": [each.bucket for each in objects],
            "key": [each.key for each in objects],
            "etag": [each.etag for each in objects],
            "size_bytes": [each.size_bytes for each in objects],
        },
        len(objects),
    )


def _of_page(page: ListedPage) -> Rows:
    rows = len(page.keys)
    return complete(
        {
            "bucket": pa.repeat(pa.scalar(page.bucket, pa.string()), rows),
            "key": page.keys,
            "etag": page.etags,
            "size_bytes": page.sizes_bytes,
        },
        rows,
    )


def complete(columns: Mapping[str, Sequence[object] | pa.Array], rows: int) -> Rows:
    """Rows with all columns; those that are not given are null."""
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in PLAN
    ]
    return pa.Table.from_arrays(arrays, schema=PLAN)


def without_folders(rows: Rows) -> Rows:
    """The rows but for folder markers: objects without bytes whose key ends with a slash."""
    marker = pc.and_kleene(
        pc.ends_with(rows.column("key"), "/"), pc.equal(rows.column("size_bytes"), 0)
    )
    return rows.filter(pc.invert(pc.fill_null(marker, False)))


def require_rows(cutter: Cutter, source: str) -> None:
    """
    Raises:
        Halt: ``backfill.no_rows``.
    """
    if not cutter.rows:
        raise Halt("backfill.no_rows", f"{source}: holds nothing to classify; check the prefix")
