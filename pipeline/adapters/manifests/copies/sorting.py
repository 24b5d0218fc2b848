"""Sorts more rows than memory holds: sorted runs on disk, which are merged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KEY = "_key"
"""The column by which rows are sorted: 64 bits, different in each row."""

_BATCH_ROWS = 4096


def write_run(path: Path, rows: pa.Table) -> None:
    """``rows`` are sorted."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, rows.schema, options=options) as writer,
    ):
        writer.write_table(rows, max_chunksize=_BATCH_ROWS)


def read_run(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def sorted_rows(rows: pa.Table) -> pa.Table:
    keys = keys_of(rows)
    if (keys[1:] > keys[:-1]).all():
        return rows
    return rows.take(pa.array(np.argsort(keys)))


def keys_of(rows: pa.Table) -> npt.NDArray[np.uint64]:
    found: npt.NDArray[np.uint64] = rows.column(KEY).to_numpy()
    return found


def merged(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """The rows of all runs in their order. Memory holds 4,096 rows of each run, which stays open
    until the last row is taken."""
    with contextlib.ExitStack() as owned:
        runs = [_Run(owned.enter_context(pa.OSFile(str(path)))) for path in paths]
        while runs := [run for run in runs if not run.over]:
            # No run has a row before this one that is not in memory.
            bound = min(run.last for run in runs)
            yield sorted_rows(pa.concat_tables(run.up_to(bound) for run in runs))


class _Run:
    """Some rows are in memory, until it is over."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._reader = pa.ipc.open_file(source)
        self._next = 0
        self._rows: pa.Table = self._reader.schema.empty_table()
        self._keys = np.empty(0, np.uint64)
        self._load()

    @property
    def over(self) -> bool:
        return not len(self._keys)

    @property
    def last(self) -> int:
        """Key of the last row in memory."""
        return int(self._keys[-1])

    def up_to(self, bound: int) -> pa.Table:
        """The rows in memory whose key is at most ``bound``. They are taken."""
        rows = self._rows
        count = int(self._keys.searchsorted(np.uint64(bound), "right"))
        if count == len(self._keys):
            self._load()
        else:
            self._rows, self._keys = rows.slice(count), self._keys[count:]
        return rows.slice(0, count)

    def _load(self) -> None:
        self._keys = np.empty(0, np.uint64)
        if self._next < self._reader.num_record_batches:
            self._rows = pa.Table.from_batches([self._reader.get_batch(self._next)])
            self._keys = keys_of(self._rows)
            self._next += 1
