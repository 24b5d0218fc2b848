"""A job as its workers leave it: plan, results and errors, in a folder."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from pipeline.adapters.parquet.columns import Stored
from pipeline.adapters.parquet.cutting import Cutter, complete
from pipeline.adapters.parquet.failures import failures_bytes
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.adapters.parquet.results import ResultsFile
from pipeline.backfill import layout
from pipeline.backfill.job import Identity, Job, Source
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.rows import PlanRow
from pipeline.backfill.summary import Summary
from pipeline.ports import Folder
from pipeline.records import (
    Asked,
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
)

MODEL = ModelIdentity("clip", "r1", 4, 100.0, "fp32", "torch-cpu")
LABELS = ("cat", "dog")
IDENTITY = Identity.of(
    MODEL,
    decode_mode="strict",
    decode_crop="transformers",
    embedding_dtype="float32",
    label_sets={"animals": "sha256:1"},
)

Outcome = Classification | DeadLetter | None
OutcomeOf = Callable[[PlanRow], Outcome]


def ref_of(row: PlanRow) -> ImageRef:
    """What the route makes of a row."""
    return ImageRef(
        row.bucket,
        row.key,
        ("animals",),
        row.version_id,
        row.etag,
        row.id,
        "gallery",
        row.metadata,
        Asked(row.label_sets, row.tenant),
    )


def classified(row: PlanRow) -> Classification:
    """A row's outcome, which its key decides."""
    seed = hashlib.sha256(row.key.encode()).digest()
    vector = np.frombuffer(seed[:4], np.uint8).astype("<f4") + 1
    vector /= np.linalg.norm(vector)
    score = seed[4] / 255
    result = LabelSetResult(
        "animals",
        "sha256:1",
        (LabelScore("cat", score, 0.3, probability=score / 2), LabelScore("dog", 1 - score, -0.25)),
        ("cat",) if score > 0.5 else (),
        "review" if score > 0.8 else "keep",
        raised=("cropped_share",) if score > 0.8 else (),
        labels_decision="keep" if score > 0.8 else None,
        shadow=seed[5] > 127,
    )
    looked = Looked(
        vector,
        MODEL,
        ImageFacts("JPEG", 40, 30, 1, 0.25),
        seed.hex(),
        7,
        "strict",
        "transformers",
    )
    return Classification(ref_of(row), looked, (result,), "read-etag", row.version_id)


def mixed(row: PlanRow) -> Outcome:
    """Every seventh row is skipped by its route, and every fifth fails."""
    if row.number % 7 == 6:
        return None
    if row.number % 5 == 4:
        return DeadLetter("decode.corrupt", "decode: broken", 2, ref=ref_of(row))
    return classified(row)


class WrittenJob:
    """A job with its plan. ``commit`` writes what became of a shard."""

    def __init__(
        self, folder: Folder, shards: int, shard_rows: int, texts: Mapping[int, int] = {}
    ) -> None:
        """``texts`` are sizes of texts in the metadata of the job's rows, by their number."""
        self.folder = folder
        attempt = "a1"
        cutter = Cutter(
            shard_rows, lambda shard, body: folder.write(layout.plan_file(attempt, shard), body)
        )
        rows = shards * shard_rows
        metadata: list[object] = [
            '{"album":["winter",1]}' if number % 3 else None for number in range(rows)
        ]
        for number, size in texts.items():
            metadata[number] = json.dumps({"text": "x" * size})
        columns: dict[str, list[object]] = {
            "bucket": ["photos"] * rows,
            "key": [f"2024/{number:05}.jpg" for number in range(rows)],
            "id": [f"id-{number}" if number % 2 else None for number in range(rows)],
            "metadata": metadata,
        }
        cutter.add(complete(columns, rows))
        self.job = Job(
            id=str(uuid.uuid4()),
            created_at="2026-11-29T00:00:00+00:00",
            clipstream_version="1",
            source=Source(uri="s3://photos/", kind="listing"),
            attempt=attempt,
            plan_hash=cutter.finish(),
            rows=rows,
            bytes=0,
            shards=shards,
            shard_rows=shard_rows,
        )
        folder.create(layout.JOB, self.job.as_bytes())

    def rows(self, shard: int) -> list[PlanRow]:
        found = self.folder.read(layout.plan_file(self.job.attempt, shard))
        assert found is not None
        return list(plan_rows(found.body))

    def commit(
        self,
        shards: Iterable[int],
        outcome_of: OutcomeOf = mixed,
        dimension: int | None = MODEL.dimension,
    ) -> None:
        for shard in shards:
            self._commit(shard, [(row, outcome_of(row)) for row in self.rows(shard)], dimension)

    def _commit(
        self, shard: int, outcomes: Sequence[tuple[PlanRow, Outcome]], dimension: int | None
    ) -> None:
        results = ResultsFile({"animals": LABELS}, Stored(dimension))
        found = [(row, each) for row, each in outcomes if isinstance(each, Classification)]
        # A worker writes rows as they are done. That order is not the order of the plan.
        results.write(found[::2])
        results.write(found[1::2])
        failed = [(row, each) for row, each in outcomes if isinstance(each, DeadLetter)]
        errors = None
        if failed:
            body = failures_bytes(failed)
            errors = layout.errors_file(shard, hashlib.sha256(body).hexdigest())
            self.folder.write(errors, body)
        footer = Footer(
            job=self.job.id,
            shard=shard,
            attempt="a1",
            plan_hash=self.job.plan_hash,
            errors_file=errors,
            clipstream_version="1",
            identity=IDENTITY,
            summary=Summary(),
        )
        body = results.finish(footer.model_dump(mode="json"))
        self.folder.create(layout.data_file(shard), body)
