"""Decides which entries of a source become rows of a plan, and counts those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.parquet.columns import PLAN
from pipeline.errors import Halt

_HASHES = 2**64
_NAMED = "SELECT *, 's3://' || bucket || '/' || key AS uri, size_bytes AS size FROM entries"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person asks for. ``where`` is an expression of DuckDB over the columns of the source.
    ``sample`` is the share of objects to take; the same ``seed`` takes the same objects.
    ``all_versions`` keeps versions that are not the latest."""

    where: str | None = None
    sample: float | None = None
    seed: int = 0
    all_versions: bool = False


class Decider:
    """Belongs to one thread.

    ``left_out`` counts by reason, in this order: ``bucket_not_allowed``, ``delete_marker``,
    ``not_latest``, ``folder``, ``where``, ``sample``. ``refused_buckets`` are the buckets that no
    setting allows.
    """

    def __init__(self, choice: Choice, allows: Callable[[str], bool]) -> None:
        self._choice = choice
        self._allows = allows
        self._known: dict[str, bool] = {}
        self._engine = _engine()
        self.left_out: Counter[str] = Counter()

    @property
    def refused_buckets(self) -> list[str]:
        return sorted(bucket for bucket, allowed in self._known.items() if not allowed)

    def rows(self, entries: pa.Table) -> pa.Table:
        """The entries that become rows, with the columns of ``PLAN``.

        Raises:
            Halt: ``backfill.invalid``: the expression cannot be computed.
        """
        names = entries.column_names
        entries = self._keep(entries, "bucket_not_allowed", self._allowed(entries))
        if "is_delete_marker" in names:
            markers = pc.fill_null(entries.column("is_delete_marker"), False)
            entries = self._keep(entries, "delete_marker", pc.invert(markers))
        if "is_latest" in names and not self._choice.all_versions:
            latest = pc.fill_null(entries.column("is_latest"), True)
            entries = self._keep(entries, "not_latest", latest)
        entries = self._keep(entries, "folder", pc.invert(_folders(entries)))
        if self._choice.where is not None:
            entries = self._keep(entries, "where", self._where(entries, self._choice.where))
        if self._choice.sample is not None:
            entries = self._keep(entries, "sample", self._sampled(entries, self._choice.sample))
        return entries.select(PLAN.names)

    def close(self) -> None:
        self._engine.close()

    def _keep(self, entries: pa.Table, reason: str, mask: pa.ChunkedArray) -> pa.Table:
        kept = entries.filter(mask)
        if out := entries.num_rows - kept.num_rows:
            self.left_out[reason] += out
        return kept

    def _allowed(self, entries: pa.Table) -> pa.ChunkedArray:
        buckets = entries.column("bucket")
        unique = buckets.unique().to_pylist()
        for bucket in unique:
            if bucket not in self._known:
                self._known[bucket] = self._allows(bucket)
        allowed = [bucket for bucket in unique if self._known[bucket]]
        return pc.is_in(buckets, pa.array(allowed, pa.string()))

    def _where(self, entries: pa.Table, where: str) -> pa.ChunkedArray:
        query = f"SELECT CAST(({where}\n) AS BOOLEAN) AS kept"
        try:
            kept = self._ask(entries, query)
        except duckdb.Error as error:
            text = str(error).splitlines()[0]
            raise Halt(
                "backfill.invalid",
                f"--where: {where!r} cannot be computed ({text}); the columns are "
                f"{', '.join(['uri', 'size', *entries.column_names])}",
            ) from error
        if len(kept) != entries.num_rows:
            raise Halt("backfill.invalid", f"--where: {where!r} does not answer for each row")
        return pc.fill_null(kept, False)

    def _sampled(self, entries: pa.Table, share: float) -> pa.ChunkedArray:
        # MD5, because DuckDB's own hash may change with its release.
        hashed = f"md5_number_lower(concat_ws('/', bucket, key, version_id, '{self._choice.seed}'))"
        query = f"SELECT {hashed} < {int(share * _HASHES)}::HUGEINT AS kept"
        return self._ask(entries, query)

    def _ask(self, entries: pa.Table, query: str) -> pa.ChunkedArray:
        self._engine.register("entries", entries)
        answer = self._engine.sql(f"{query} FROM ({_NAMED})").to_arrow_table()
        return answer.column("kept")


def _engine() -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})
    engine.execute("SET TimeZone = 'UTC'")
    return engine


def _folders(entries: pa.Table) -> pa.ChunkedArray:
    """Folder markers: objects without bytes whose key ends with a slash."""
    marker = pc.and_kleene(
        pc.ends_with(entries.column("key"), "/"), pc.equal(entries.column("size_bytes"), 0)
    )
    return pc.fill_null(marker, False)
