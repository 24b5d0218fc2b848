"""Compares the rows of a source with the objects that earlier jobs have, on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.adapters.manifests.disk import MEMORY, ROWS_AT_ONCE, engine_on_disk

_OF_NAME = "md5_number(bucket || chr(0) || key)"
_OF_VERSION = "md5_number('v' || version_id || chr(0) || bucket || chr(0) || key)"
_OF_ETAG = "md5_number('e' || etag || chr(0) || bucket || chr(0) || key)"


class EarlierObjects:
    """Rows and objects wait in a temporary folder. Memory is bounded, whatever their number.

    An earlier job has a row's object if it has the same bucket and key with the same ETag. Where
    the row states no ETag, the version id decides; where it states neither, bucket and key do.
    Objects are told apart by hashes of 128 bits. Belongs to one thread.
    """

    def __init__(self, memory: str = MEMORY) -> None:
        """``memory`` bounds what DuckDB keeps in memory, in its own notation."""
        self._folder = tempfile.TemporaryDirectory(prefix="clipstream-since-")
        self._engine = engine_on_disk(Path(self._folder.name), memory)
        self._engine.execute("CREATE TABLE had (id UHUGEINT)")
        self._engine.execute("CREATE TABLE earlier (bucket VARCHAR, key VARCHAR, name UHUGEINT)")
        self._rows: pa.Schema | None = None

    def add_earlier(self, objects: pa.Table) -> None:
        """Objects of an earlier job. Needs ``bucket``, ``key``, ``version_id`` and ``etag``."""
        self._engine.register("objects", objects)
        self._engine.execute(
            f"INSERT INTO earlier SELECT bucket, key, {_OF_NAME} FROM objects"  # noqa: S608 - of constants
        )
        self._engine.execute(
            "INSERT INTO had SELECT unnest(list_filter("  # noqa: S608 - of constants
            f"[{_OF_NAME}, {_OF_VERSION}, {_OF_ETAG}], lambda id: id IS NOT NULL)) FROM objects"
        )
        self._engine.unregister("objects")

    def add(self, rows: pa.Table) -> None:
        """Rows of the source, with the columns of a plan."""
        self._engine.register("rows_of_source", rows)
        select = (
            f"SELECT *, {_OF_NAME} AS _name, "  # noqa: S608 - of constants
            f"coalesce({_OF_ETAG}, {_OF_VERSION}, {_OF_NAME}) AS _id FROM rows_of_source"
        )
        if self._rows is None:
            self._rows = rows.schema
            self._engine.execute(f"CREATE TABLE source AS {select}")
        else:
            self._engine.execute(f"INSERT INTO source {select}")
        self._engine.unregister("rows_of_source")

    def new_rows(self) -> Iterator[pa.Table]:
        """The rows whose object no earlier job has, in any order. Called when all are added."""
        if self._rows is None:
            return
        query = "SELECT * EXCLUDE (_name, _id) FROM source ANTI JOIN had ON source._id = had.id"
        for batch in self._engine.sql(query).to_arrow_reader(ROWS_AT_ONCE):
            yield pa.Table.from_batches([batch]).cast(self._rows)

    def removed(self) -> tuple[int, Path]:
        """The objects of earlier jobs whose bucket and key the source does not have: their number,
        and a Parquet file of their ``bucket`` and ``key``."""
        path = Path(self._folder.name) / "removed.parquet"
        gone = "SELECT DISTINCT bucket, key FROM earlier"
        if self._rows is not None:
            gone += " ANTI JOIN source ON earlier.name = source._name"
        (count,) = self._engine.execute(
            f"COPY ({gone} ORDER BY bucket, key) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
        ).fetchone() or (0,)
        return count, path

    def close(self) -> None:
        self._engine.close()
        self._folder.cleanup()
