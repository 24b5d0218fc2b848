"""What a judge of backfills counts: the rows that a reader finds, against those of an undisturbed
run; and whether a committed file has changed."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from pipeline.backfill import layout
from tests.rigs.root import ROOT

LABEL_SET = ROOT / "deploy/examples/label-sets/general-objects.yaml"
"""The label set of the jobs that are judged."""

CLOSE = 0.99999
"""Least cosine of a row's embedding with that of an undisturbed run."""


class Row(NamedTuple):
    """What a reader finds of an object. ``outcome`` is its decision, or the code of its failure."""

    key: str
    outcome: str
    sha256: str | None = None
    """Of the bytes that were classified."""
    embedding: Any = None


Rows = dict[tuple[int, int], list[Row]]
"""What a reader finds of each row of a job, by its shard and its number there."""


@dataclass
class Verdict:
    """What a judge found in the outputs of all rounds."""

    rounds: int = 0
    kills: int = 0
    drivers: int = 0
    drivers_in_twos: int = 0
    rows: int = 0
    missing: int = 0
    doubled: int = 0
    different: int = 0
    rewritten: int = 0
    stuck: int = 0
    least_cosine: float = 1.0
    by_fate: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        return not (self.missing + self.doubled + self.different + self.rewritten + self.stuck)

    def told(self) -> dict[str, object]:
        counts = vars(self) | {"least_cosine": round(self.least_cosine, 7)}
        return {
            name: dict(sorted(each.items())) if isinstance(each, Counter) else each
            for name, each in counts.items()
        }


class Committed:
    """The data files of a job, by name, each with the ETag that it was seen with last. None of them
    may ever change."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.rewritten = 0

    def look(self, files: Mapping[str, str]) -> None:
        self.rewritten += sum(files.get(name) != etag for name, etag in self.files.items())
        self.files |= files


def rows_of(files: Iterable[str], read: Callable[[str], bytes]) -> Rows:
    """The rows of data files, and of the errors files that they name."""
    found: Rows = {}
    for name in files:
        shard = layout.shard_of(name)
        assert shard is not None
        file = pq.ParquetFile(io.BytesIO(read(name)))
        for row in file.read().to_pylist():
            decision = row[LABEL_SET.stem]["decision"]
            found.setdefault((shard, row["row"]), []).append(
                Row(row["key"], decision, row["sha256"], row["embedding"])
            )
        errors = json.loads(file.metadata.metadata[b"clipstream"])["errors_file"]
        for row in pq.read_table(io.BytesIO(read(errors))).to_pylist() if errors else []:
            found.setdefault((shard, row["row"]), []).append(Row(row["key"], row["code"]))
    return found


def judge(expected: Rows, found: Rows, verdict: Verdict) -> None:
    for place, (wanted,) in expected.items():
        rows = found.get(place, [])
        verdict.rows += 1
        verdict.missing += not rows
        verdict.doubled += len(rows) > 1
        for row in rows[:1]:
            verdict.outcomes[row.outcome] += 1
            cosine = _cosine(wanted, row)
            verdict.least_cosine = min(verdict.least_cosine, cosine)
            verdict.different += wanted[:3] != row[:3] or cosine <= CLOSE
    verdict.doubled += len(found.keys() - expected.keys())


def _cosine(one: Row, other: Row) -> float:
    """Of two unit vectors. Rows without embeddings agree, and one without does not with one that
    has one."""
    if one.embedding is None or other.embedding is None:
        return float(one.embedding is other.embedding)
    return float(np.dot(one.embedding, other.embedding))
