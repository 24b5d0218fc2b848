"""DuckDB with its tables on disk, for sources that are larger than memory; and what to say when the
disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline.errors import Halt

MEMORY = "1GB"
"""What DuckDB keeps in memory by default, in its own notation."""

ROWS_AT_ONCE = 65_536
_THREADS = 2

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def engine_on_disk(folder: Path, memory: str = MEMORY) -> duckdb.DuckDBPyConnection:
    """An engine whose tables, and what does not fit into ``memory``, lie in a folder. A query
    without ``ORDER BY`` answers in any order."""
    return duckdb.connect(
        str(folder / "rows.duckdb"),
        config={
            "memory_limit": memory,
            "temp_directory": str(folder / "spilled"),
            "threads": _THREADS,
            "preserve_insertion_order": False,
        },
    )


@contextlib.contextmanager
def full_disk_named() -> Iterator[None]:
    """Around work that keeps rows in the folder for temporary files.

    Raises:
        Halt: ``backfill.disk_full``.
    """
    try:
        yield
    except (OSError, duckdb.Error) as error:
        if not _is_full(error):
            raise
        raise Halt(
            "backfill.disk_full",
            f"backfill: {tempfile.gettempdir()} has no room for the rows that wait there while the "
            f"job is cut ({_first_line(error)}); make room, or set TMPDIR to another folder",
        ) from error


def _is_full(error: OSError | duckdb.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    # DuckDB has the words of the system alone, and those of its own limit: most of what is free.
    words = (*map(os.strerror, _FULL), "max_temp_directory_size")
    return any(each in str(error) for each in words)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
