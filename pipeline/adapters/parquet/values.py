"""Values that several tables share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipeline.backfill.rows import PlanRow

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def as_json(value: Mapping[str, object]) -> str:
    return _encode(dict(value))


def object_columns(rows: Sequence[PlanRow]) -> dict[str, list[object]]:
    """The columns ``OBJECT``."""
    return {
        "row": [row.number for row in rows],
        "bucket": [row.bucket for row in rows],
        "key": [row.key for row in rows],
        "version_id": [row.version_id for row in rows],
        "etag": [row.etag for row in rows],
        "id": [row.id for row in rows],
        "tenant": [row.tenant for row in rows],
        "metadata": [as_json(row.metadata) if row.metadata else None for row in rows],
    }
