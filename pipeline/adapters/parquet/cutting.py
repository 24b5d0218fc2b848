"""Cuts rows into shards, as they come."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.parquet.columns import PLAN
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.ports import ListedPage

Rows: TypeAlias = pa.Table
"""Some rows of a plan, with the columns of ``PLAN``."""

_LISTED_AT_ONCE = 10_000
_ROWS_AT_ONCE = 400_000
_MOST_AT_ONCE = 16


class Cutter:
    """Cuts rows into shards of ``shard_rows``; the last one may be shorter. Files are made and
    written in threads, so that a store that answers late does not hold up the reader. Memory holds
    the shards that are being written, the next one and what was given last.

    Belongs to one thread.
    """

    def __init__(
        self, shard_rows: int, write: Callable[[int, bytes], object] | None = None
    ) -> None:
        """``write`` stores a plan file by its shard, from any thread. None: rows are only
        counted."""
        self._shard_rows = shard_rows
        self._write = write
        self._waiting: list[Rows] = []
        self._waiting_rows = 0
        at_once = max(2, min(_MOST_AT_ONCE, _ROWS_AT_ONCE // shard_rows))
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="plan")
        self._at_once = at_once
        self._writing: deque[Future[bytes]] = deque()
        self._hash = hashlib.sha256()
        self.rows = self.shards = self.bytes = 0

    def add(self, rows: Rows) -> None:
        """Raises what ``write`` raises, here or in a later call."""
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        if self._waiting_rows < self._shard_rows:
            return
        together = pa.concat_tables(self._waiting)
        start = 0
        while self._waiting_rows - start >= self._shard_rows:
            self._cut(together.slice(start, self._shard_rows))
            start += self._shard_rows
        rest = together.slice(start)
        self._waiting, self._waiting_rows = [rest], rest.num_rows

    def finish(self) -> str:
        """Cut what is left, and wait until all is written. Returns the hash of the plan: of the
        hashes of its files."""
        if self._waiting_rows:
            self._cut(pa.concat_tables(self._waiting))
            self._waiting, self._waiting_rows = [], 0
        while self._writing:
            self._collect()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Write nothing more."""
        self._threads.shutdown(cancel_futures=True)

    def _cut(self, rows: Rows) -> None:
        if self._write is not None:
            while len(self._writing) >= self._at_once:
                self._collect()
            self._writing.append(self._threads.submit(self._store, self._write, self.shards, rows))
        self.shards += 1
        self.rows += rows.num_rows
        self.bytes += pc.sum(rows.column("size_bytes")).as_py() or 0

    def _collect(self) -> None:
        self._hash.update(self._writing.popleft().result())

    @staticmethod
    def _store(write: Callable[[int, bytes], object], shard: int, rows: Rows) -> bytes:
        body = plan_bytes(rows)
        write(shard, body)
        return hashlib.sha256(body).digest()


def listed(pages: Iterable[ListedPage]) -> Iterator[Rows]:
    """Rows of a listing."""
    some: list[ListedPage] = []
    rows = 0
    for page in pages:
        some.append(page)
        rows += len(page.keys)
        if rows >= _LISTED_AT_ONCE:
            yield _of_pages(some)
            some, rows = [], 0
    if some:
        yield _of_pages(some)


def _of_pages(pages: Sequence[ListedPage]) -> Rows:
    return pa.concat_tables(
        complete(
            {
                "bucket": pa.repeat(pa.scalar(page.bucket, pa.string()), len(page.keys)),
                "key": page.keys,
                "etag": page.etags,
                "size_bytes": page.sizes_bytes,
            },
            len(page.keys),
        )
        for page in pages
    ).combine_chunks()


def complete(columns: Mapping[str, Sequence[object] | pa.Array], rows: int) -> Rows:
    """Rows with all columns; those that are not given are null."""
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in PLAN
    ]
    return pa.Table.from_arrays(arrays, schema=PLAN)


def bytes_by_bucket(rows: Rows) -> dict[str, int]:
    """The sum of the known sizes of each bucket's rows."""
    sums = (
        rows.select(["bucket", "size_bytes"]).group_by("bucket").aggregate([("size_bytes", "sum")])
    )
    return {
        bucket: size or 0
        for bucket, size in zip(
            sums.column("bucket").to_pylist(),
            sums.column("size_bytes_sum").to_pylist(),
            strict=True,
        )
    }


def taken_rows(before: Rows | None, rows: Rows, places: Sequence[int]) -> Rows:
    """The rows at these places of both tables, one after the other."""
    both = rows if before is None else pa.concat_tables([before, rows])
    return both.take(pa.array(places))
