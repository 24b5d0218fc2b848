"""Rows of a backfill and what became of them, without a model and without a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from pipeline.adapters.parquet.columns import Stored
from pipeline.adapters.parquet.results import Result, ResultsFile
from pipeline.backfill.rows import PlanRow
from pipeline.labels.scoring import CompiledLabelSets
from pipeline.records import (
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    JsonValue,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Vector,
)
from tests.rigs.stages.looked import scored

DIMENSION = 512
MODEL = ModelIdentity("openai/clip-vit-base-patch32", "3d74acf", DIMENSION, 100.0, "fp32", "null")

Labels = Mapping[str, Sequence[str]]
Dtype = Literal["float32", "float16"]


def unit_vectors(count: int, dimension: int = DIMENSION) -> Vector:
    """Embeddings [count, dimension], the same in every run."""
    vectors = np.random.default_rng(7).normal(size=(count, dimension)).astype(np.float32)
    unit: Vector = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def plan_row(number: int, **fields: object) -> PlanRow:
    row = PlanRow(number, "photos", f"2024/{number:04}.jpg", None, f"etag-{number}", 1000 + number)
    return replace(row, **fields)  # type: ignore[arg-type]


def classified(
    row: PlanRow,
    embedding: Vector,
    results: tuple[LabelSetResult, ...],
    dtype: Dtype = "float32",
    model: ModelIdentity = MODEL,
) -> Classification:
    """A row's outcome."""
    names = tuple(each.label_set for each in results)
    ref = ImageRef(row.bucket, row.key, names, row.version_id, row.etag, row.id, row.tenant)
    facts = ImageFacts("JPEG", 640, 480, 1, 0.25)
    looked = Looked(
        embedding.astype(dtype), model, facts, f"{row.number:064x}", 1000, "transformers", "center"
    )
    return Classification(ref, looked, results, row.etag, row.version_id)


def scored_by(
    compiled: CompiledLabelSets, row: PlanRow, embedding: Vector, dtype: Dtype = "float32"
) -> Classification:
    """A row's outcome with the scores of all label sets, as a worker computes them."""
    published = embedding.astype(dtype)
    names = tuple(each.label_set.name for each in compiled)
    model = replace(MODEL, dimension=len(embedding))
    return classified(row, embedding, scored(compiled, names, published), dtype, model)


def some_result(name: str, labels: Sequence[str], number: int) -> LabelSetResult:
    """Scores that nobody computed: each is of its label's place and the row's number."""
    scores = tuple(
        LabelScore(label, (number % 10 + place) / 20, place / 10)
        for place, label in enumerate(labels)
    )
    return LabelSetResult(name, "sha256:0", scores, tuple(labels[:1]), "review")


def failed(
    row: PlanRow, code: str = "fetch.not_found", label_sets: tuple[str, ...] = ("moderation",)
) -> tuple[PlanRow, DeadLetter]:
    ref = ImageRef(row.bucket, row.key, label_sets, row.version_id, row.etag, row.id)
    return row, DeadLetter(code, f"{ref.uri}: is gone", 1, ref=ref)


def results_file(
    rows: Sequence[Result],
    labels: Labels,
    *,
    stored: Stored | None = None,
    dtype: Dtype = "float32",
    dimension: int | None = DIMENSION,
    store_schema: bool = True,
    metadata: Mapping[str, JsonValue] | None = None,
    group: int = 100,
) -> bytes:
    """A data file, with a row group for every ``group`` rows. ``stored`` overrides ``dimension``
    and ``dtype``."""
    stored = stored or Stored(dimension, dtype)
    file = ResultsFile(labels, stored, store_schema=store_schema)
    for first in range(0, len(rows), group):
        file.write(rows[first : first + group])
    return file.finish(metadata or {})
