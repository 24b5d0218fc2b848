"""DuckDB with its tables on disk: for sources that are larger than memory."""

from __future__ import annotations

from pathlib import Path

import duckdb

MEMORY = "1GB"
"""What DuckDB keeps in memory by default, in its own notation."""

ROWS_AT_ONCE = 65_536
_THREADS = 2


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
