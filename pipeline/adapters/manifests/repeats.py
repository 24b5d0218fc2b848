"""Counts rows whose object another row has too, in little memory: the hashes wait on disk."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

_PARTS = 64
_HASHES = "SELECT hash(bucket, key, version_id) AS hashed FROM rows"


class Repeats:
    """Eight bytes a row in a temporary folder; memory holds a part of them at the end. Objects with
    equal 64-bit hashes count as one. Belongs to one thread."""

    def __init__(self) -> None:
        # All of it is closed, also if a file cannot be written to its end.
        self._owned = contextlib.ExitStack()
        folder = self._owned.enter_context(tempfile.TemporaryDirectory(prefix="clipstream-plan-"))
        self._engine = duckdb.connect(":memory:", config={"threads": 1})
        self._owned.callback(self._engine.close)
        self._parts = [
            self._owned.enter_context((Path(folder) / f"{part:02}").open("w+b"))
            for part in range(_PARTS)
        ]

    def add(self, rows: pa.Table) -> None:
        self._engine.register("rows", rows)
        hashes = self._engine.sql(_HASHES).fetchnumpy()["hashed"]
        part_of = hashes % _PARTS
        for part in np.unique(part_of):
            self._parts[part].write(hashes[part_of == part].tobytes())

    def count(self) -> int:
        """Rows after the first one of their object."""
        repeated = 0
        for part in self._parts:
            part.seek(0)
            hashes = np.frombuffer(part.read(), np.uint64)
            repeated += len(hashes) - len(np.unique(hashes))
        return repeated

    def close(self) -> None:
        self._owned.close()
