"""A job's output as workers leave it, written at once: plan, errors and data files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.parquet.columns import PLAN, Stored
from pipeline.adapters.parquet.cutting import complete
from pipeline.adapters.parquet.failures import failures_bytes
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.adapters.parquet.results import Result
from pipeline.backfill import layout
from pipeline.backfill.committing import commit
from pipeline.backfill.job import CENTRE, Identity, Job, Source
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.report.samples import Sampler
from pipeline.backfill.rows import PlanRow
from pipeline.backfill.summary import Tally
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSets, compile_label_sets
from pipeline.ports import Folder
from pipeline.records import DeadLetter, JsonValue, Looked
from pipeline.records.views import LookedViews, View
from tests.rigs.stages.backfill_rows import (
    Dtype,
    classified,
    failed,
    plan_row,
    results_file,
    unit_vectors,
)
from tests.rigs.stages.looked import scored

ENCODER = MemoryEncoder(64)
SHARD_ROWS = 20
LAST_FAILS = 18
"""Rows of each shard from this one on fail."""


def label_set(name: str, threshold: float, *labels: str) -> JsonValue:
    """An independent label set whose labels match from a threshold on."""
    return {
        "name": name,
        "decision": "independent",
        "actions": ["block", "review", "allow"],
        "default_action": "allow",
        "unclassified_action": "block" if threshold < 0.5 else "review",
        "contrast": ["anything else"],
        "labels": [
            {
                "name": label,
                "prompts": [f"a {label}"],
                "act_threshold": threshold,
                "act_action": "review" if place else "block",
            }
            for place, label in enumerate(labels or ("cat", "dog"))
        ],
    }


def compiled(*documents: JsonValue) -> CompiledLabelSets:
    label_sets = [parse_label_set(document) for document in documents]
    return compile_label_sets(label_sets, ENCODER.encode_texts, ENCODER.model)


def write_job(
    folder: Folder,
    scoring: CompiledLabelSets,
    *,
    shards: int = 2,
    dtype: Dtype = "float32",
    embeddings: bool = True,
    asked: Mapping[str, int] = {},
    uncommitted: Sequence[int] = (),
    truths: Sequence[tuple[str, ...] | None] = (None,),
    views: str = CENTRE,
    view_embeddings: bool = True,
) -> Job:
    """Run a job. ``asked`` has, for a label set that not every row asks for, the row from which on
    rows do. ``truths`` are those of its rows, over and over. With ``views``, a row has as many
    views as its number leaves over when divided by four, but one at least."""
    job = Job(
        id="5b0f",
        created_at="2026-11-28T12:00:00+00:00",
        clipstream_version="0",
        source=Source(uri="s3://photos/2024/", kind="listing"),
        attempt="a1",
        rows=shards * SHARD_ROWS,
        bytes=0,
        shards=shards,
        shard_rows=SHARD_ROWS,
        plan_hash="hash of the plan",
    )
    identity = identity_of(scoring, dtype).model_copy(update={"decode_views": views})
    stored = Stored(
        ENCODER.model.dimension if embeddings else None, dtype, views != CENTRE, view_embeddings
    )
    folder.create(layout.JOB, job.as_bytes())
    folder.create(layout.IDENTITY, identity.as_bytes())
    vectors = unit_vectors(job.rows, ENCODER.model.dimension)
    labels = {
        each.label_set.name: [label.name for label in each.label_set.labels] for each in scoring
    }
    for shard in range(shards):
        rows = [
            plan_row(
                number, key=f"2024/{shard}-{number:03}.jpg", truth=truths[number % len(truths)]
            )
            for number in range(SHARD_ROWS)
        ]
        folder.write(layout.plan_file(job.attempt, shard), plan_of(rows))
        if shard in uncommitted:
            continue
        tally, sampler = Tally(), Sampler(shard)
        results: list[Result] = []
        for row in rows[:LAST_FAILS]:
            names = tuple(name for name in labels if row.number >= asked.get(name, 0))
            vector = vectors[shard * SHARD_ROWS + row.number]
            scores = scored(scoring, names, vector.astype(dtype))
            outcome = classified(row, vector, scores, dtype, ENCODER.model)
            if views != CENTRE and row.number % 4 > 1:
                looked = seen_in_views(outcome.looked, row.number % 4)
                outcome = replace(outcome, looked=looked, results=scoring.judge(names, looked))
            results.append((row, outcome))
            tally.add(results[-1][1], row.truth)
            sampler.add(row, results[-1][1])
        failures: list[tuple[PlanRow, DeadLetter]] = [
            failed(
                row, label_sets=tuple(name for name in labels if row.number >= asked.get(name, 0))
            )
            for row in rows[LAST_FAILS:]
        ]
        for each, letter in failures:
            tally.add(letter)
            sampler.add(each, letter)
        body = failures_bytes(failures)
        errors = layout.errors_file(shard, hashlib.sha256(body).hexdigest())
        folder.write(errors, body)
        footer = Footer(
            job=job.id,
            shard=shard,
            attempt=f"attempt {shard}",
            plan_hash=job.plan_hash,
            errors_file=errors,
            clipstream_version="0",
            identity=identity,
            summary=tally.summary(1.0),
            samples=sampler.samples(),
        )
        data = results_file(
            results,
            labels,
            stored=stored,
            metadata=footer.model_dump(mode="json"),
            group=8,
        )
        commit(folder, layout.data_file(shard), data, footer.attempt, job.plan_hash)
    return job


def seen_in_views(looked: Looked, count: int) -> Looked:
    """The same image in so many views of three frames; the first view is the one that it had."""
    vector = looked.embedding
    turned: Any = np.stack([np.roll(vector, number) for number in range(count)])
    places = tuple(
        View("tile" if number else "centre", number, 80.0 + number, 0.0, 560.0 + number, 480.0)
        for number in range(count)
    )
    facts = replace(looked.image, frames=3, frames_seen=count)
    return replace(looked, image=facts, views=LookedViews(places, turned))


def identity_of(scoring: CompiledLabelSets, dtype: Dtype = "float32") -> Identity:
    model = ENCODER.model
    return Identity(
        model=model.name,
        revision=model.revision,
        dimension=model.dimension,
        logit_scale=model.logit_scale,
        precision="bf16",
        engine="torch-cuda",
        decode_mode="transformers",
        decode_crop="center",
        embedding_dtype=dtype,
        label_sets={each.label_set.name: each.version for each in scoring},
    )


def plan_of(rows: Sequence[PlanRow]) -> bytes:
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows]
        for name in ("bucket", "key", "etag", "size_bytes", "truth")
    }
    table = complete(columns, len(rows))
    assert table.schema == PLAN
    return plan_bytes(table)


def bodies(folder: Folder) -> dict[str, bytes]:
    """What is in each file, by name."""
    return {name: found.body for name in folder.names() if (found := folder.read(name))}


def table_of(folder: Folder, name: str) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    found = folder.read(name)
    assert found is not None, name
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(found.body)).to_pylist()
    return rows
