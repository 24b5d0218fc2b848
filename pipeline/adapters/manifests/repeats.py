"""Counts rows whose object another row has too, in little memory: the hashes wait on disk."""

from __future__ import annotations

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
        self._folder = tempfile.TemporaryDirectory(prefix="clipstream-plan-")
        self._parts = [
            (Path(self._folder.name) / f"{part:02}").open("w+b") for part in range(_PARTS)
        ]
        self._engine = duckdb.connect(":memory:", config={"threads": 1})

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
        for part in self._parts:
            part.close()
        self._engine.close()
        self._folder.cleanup()
