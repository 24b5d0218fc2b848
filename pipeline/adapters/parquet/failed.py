"""The rows of a shard that failed, as rows to classify again."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.parquet.columns import PLAN

Rows: TypeAlias = pa.Table


def failed_rows(plan: bytes, errors: bytes, codes: Sequence[str]) -> Rows:
    """The rows of a plan file that its errors file names with one of ``codes``, which are patterns
    such as ``fetch.*``. They have all that the plan knows of them."""
    table = pq.read_table(pa.BufferReader(errors), columns=["row", "code"])
    numbers = [
        row
        for row, code in zip(*(column.to_pylist() for column in table.columns), strict=True)
        if any(fnmatchcase(code, pattern) for pattern in codes)
    ]
    rows: pa.Table = pq.read_table(pa.BufferReader(plan), schema=PLAN)
    return rows.take(pa.array(sorted(numbers), pa.int64()))
