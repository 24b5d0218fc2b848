"""Brings the rows of a source together whose objects have the same bytes, on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.manifests.copies.sorting import (
    KEY,
    keys_of,
    merged,
    read_run,
    sorted_rows,
    write_run,
)
from pipeline.adapters.manifests.disk import ROWS_AT_ONCE, engine_on_disk
from pipeline.backfill.rows import DIGEST
from pipeline.errors import Halt

COPY = "copy"
"""A column beside those of a plan: whether the row before it in its shard has the same content."""

MEMORY = "400MB"
RUN_BYTES = 64 * 1024 * 1024
"""Rows that are sorted at a time, as Arrow holds them."""

_TOLD_S = 1.0
_INTERRUPTED_S = 0.1
_BITS = np.uint64(32)
"""A key is the place of the first row of the same content, and in its lower half the row's own:
copies move up to the first one, and all others keep their order."""

# As ``PlanRow.content``. A key may hold any character, and what comes after it none that is NUL.
_CONTENT = f"""md5_number(
    CASE WHEN size_bytes IS NOT NULL AND regexp_full_match(etag, '{DIGEST}')
    THEN 'e' || etag || chr(0) || size_bytes
    ELSE 'n' || bucket || chr(0) || key || chr(0) || coalesce('v' || version_id, '')
        || chr(0) || coalesce('e' || etag, '') END
)"""

# Only numbers: DuckDB does not sort long texts that are more than its memory.
_COPIES = """
    SELECT contents.place, shared.first FROM contents JOIN (
        SELECT id, min(place) AS first FROM contents GROUP BY id HAVING count(*) > 1
    ) AS shared ON contents.id = shared.id
    WHERE contents.place <> shared.first
"""


class Contents:
    """Rows wait in a temporary folder. Memory is bounded, whatever their number.

    Contents are told apart by hashes of 128 bits. Belongs to one thread.
    """

    def __init__(self, shard_rows: int, memory: str = MEMORY, run_bytes: int = RUN_BYTES) -> None:
        """``shard_rows`` are those of the shards that the rows are cut into: a copy in another
        shard than its first row is no copy there. ``memory`` bounds what DuckDB keeps in memory, in
        its own notation, and ``run_bytes`` the rows that are sorted at a time."""
        self._shard_rows = shard_rows
        self._run_bytes = run_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="clipstream-dedupe-")
        self._place = Path(self._folder.name)
        self._engine = engine_on_disk(self._place, memory)
        self._engine.execute("CREATE TABLE contents (id UHUGEINT, place UBIGINT)")
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._firsts: list[int] = []
        """Places of the first rows of the runs."""
        self._given = self._placed = 0
        self.copies = 0
        """Rows so far that are copies in their shard."""

    def together(
        self, chosen: Iterable[tuple[int, pa.Table]], tell: Callable[[], object]
    ) -> Iterator[tuple[int, pa.Table]]:
        """Rows with the column ``COPY``, and the number of the source's entries that were read for
        them. No row comes before all entries are read: then the rows come in their order, each one
        followed by its copies. ``tell`` is called while they are sorted, and may raise.

        Raises:
            Halt: ``backfill.invalid``: these are more rows than can be sorted.
        """
        for read, rows in chosen:
            self._add(rows)
            yield read, rows.slice(0, 0).append_column(COPY, pa.array([], pa.bool_()))
        self._end_run()
        self._find_copies(tell)
        for run in range(len(self._firsts)):
            tell()
            self._move_copies(run)
        for rows in merged(self._run(run) for run in range(len(self._firsts))):
            yield 0, self._counted(rows)

    def close(self) -> None:
        self._engine.close()
        self._folder.cleanup()

    # -- inside -----------------------------------------------------------------------------

    def _add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        places = np.arange(self._given, self._given + rows.num_rows, dtype=np.uint64)
        self._given += rows.num_rows
        if self._given >> int(_BITS):
            raise Halt(
                "backfill.invalid", f"--dedupe: more than {2 ** int(_BITS):,} rows; plan parts"
            )
        self._engine.register("given", rows.append_column("place", pa.array(places)))
        self._engine.execute(
            f"INSERT INTO contents SELECT {_CONTENT}, place FROM given"  # noqa: S608 - of constants
        )
        self._engine.unregister("given")
        self._waiting.append(rows.append_column(KEY, pa.array(places << _BITS | places)))
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= self._run_bytes:
            self._end_run()

    def _end_run(self) -> None:
        if self._waiting:
            rows = pa.concat_tables(self._waiting)
            self._firsts.append(self._given - rows.num_rows)
            write_run(self._run(len(self._firsts) - 1), rows)
            self._waiting, self._waiting_bytes = [], 0

    def _run(self, run: int) -> Path:
        return self._place / f"run-{run:06}"

    def _moves(self, run: int) -> Path:
        """Places of the copies in a run, each with the place of its first row."""
        return self._place / f"moves-{run:06}"

    def _find_copies(self, tell: Callable[[], object]) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="dedupe") as threads:
            begun = threads.submit(lambda: self._engine.sql(_COPIES).to_arrow_reader(ROWS_AT_ONCE))
            try:
                while wait([begun], _TOLD_S).not_done:
                    tell()
            except BaseException:
                # An interrupt that comes before the query has begun is lost.
                while wait([begun], _INTERRUPTED_S).not_done:
                    self._engine.interrupt()
                raise
            for batch in begun.result():
                tell()
                moves = np.stack([column.to_numpy() for column in batch.columns], axis=1)
                runs = np.searchsorted(self._firsts, moves[:, 0], "right") - 1
                for run in np.unique(runs):
                    with self._moves(run).open("ab") as file:
                        file.write(moves[runs == run].tobytes())

    def _move_copies(self, run: int) -> None:
        """A run with copies is sorted again."""
        if not self._moves(run).exists():
            return
        moves = np.fromfile(self._moves(run), np.uint64).reshape(-1, 2)
        self._moves(run).unlink()
        rows = read_run(self._run(run))
        keys = keys_of(rows).copy()
        keys[moves[:, 0] - np.uint64(self._firsts[run])] = moves[:, 1] << _BITS | moves[:, 0]
        column = rows.column_names.index(KEY)
        write_run(self._run(run), sorted_rows(rows.set_column(column, KEY, pa.array(keys))))

    def _counted(self, rows: pa.Table) -> pa.Table:
        """The rows, of which the first one of each shard is no copy."""
        keys = keys_of(rows)
        is_copy = keys >> _BITS != keys & np.uint64(2 ** int(_BITS) - 1)
        places = np.arange(self._placed, self._placed + rows.num_rows)
        is_copy &= places % self._shard_rows > 0
        self._placed += rows.num_rows
        self.copies += int(is_copy.sum())
        return rows.drop_columns([KEY]).append_column(COPY, pa.array(is_copy))


def originals(rows: pa.Table) -> pa.Table:
    """The rows whose objects are read: all, if nobody looked for copies."""
    return rows.filter(pc.invert(rows.column(COPY))) if COPY in rows.column_names else rows
