"""A job whose rows cost nothing: its plan in a folder, its workers' rules and path, and its rows
read back from the Parquet files."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq

from pipeline.backfill import layout
from pipeline.backfill.job import Identity, Job
from pipeline.backfill.policy import BackfillPolicy
from pipeline.flow import Flow
from pipeline.ports import Folder
from pipeline.priority import FIRST
from pipeline.records import Classification, DeadLetter, ImageFacts, ImageRef, Looked
from pipeline.routes import RoutePolicy, Router
from pipeline.rules import Scoring
from tests.rigs.backfill.planned import planned
from tests.rigs.stages.pipeline_of_fakes import LABEL_SET, FakeEncoder, nowhere, rules_of
from workers.backfill.shard import ShardRunner
from workers.label_sets import Rules

BAD = "bad"
"""Keys that begin so fail."""

Look = Callable[[ImageRef], None]


def keys_of(rows: int, *, bad: Iterable[int] = ()) -> list[str]:
    return [f"{BAD if number in set(bad) else 'good'}-{number:06}" for number in range(rows)]


def null_job(folder: Folder, keys: list[str], shard_rows: int, attempt: str = "a1") -> Job:
    """Cut and write a job of these keys."""
    return planned(folder, "images", keys, shard_rows, attempt=attempt)


class NullFlow:
    """Classifies at once. ``look`` is called for every object first, and may raise."""

    def __init__(self, look: Look = lambda ref: None) -> None:
        self._look = look
        self._model = FakeEncoder(nowhere).model

    async def classify(
        self,
        ref: ImageRef,
        scoring: Scoring,
        level: int = FIRST,
        source: Hashable = None,
        *,
        looked: Looked | None = None,
    ) -> Classification | DeadLetter:
        if looked is not None:
            results = scoring.judge(ref.label_sets, looked)
            return Classification(ref, looked, results, ref.etag, ref.version_id)
        self._look(ref)
        await asyncio.sleep(0)
        if ref.key.startswith(BAD):
            return DeadLetter("fetch.not_found", "no such object", 1, ref=ref)
        digest = hashlib.sha256(ref.key.encode()).digest()
        vector = np.frombuffer(digest[:16], np.uint8).astype(np.float32) - 127.5
        embedding = (vector / np.linalg.norm(vector)).astype(np.float32)
        looked = Looked(
            embedding,
            self._model,
            ImageFacts("PNG", 8, 8, 1, 0.0),
            digest.hex(),
            100,
            "full",
            "center",
        )
        results = scoring.judge(ref.label_sets, looked)
        return Classification(ref, looked, results, "e1", None)


def null_rules(*routes: RoutePolicy) -> Rules:
    labels = [each["name"] for each in cast("Any", LABEL_SET)["labels"]]
    rules = replace(rules_of(FakeEncoder(nowhere)), labels={"chaos": labels})
    return replace(rules, router=Router(routes, ["chaos"])) if routes else rules


def null_identity() -> Identity:
    model = FakeEncoder(nowhere).model
    return Identity.of(
        model,
        decode_mode="full",
        decode_crop="center",
        embedding_dtype="float32",
        label_sets={"chaos": "v1"},
    )


_RULES = null_rules()


def null_runner(
    folder: Folder,
    job: Job,
    look: Look = lambda ref: None,
    rules: Rules = _RULES,
    **policy: Any,
) -> ShardRunner:
    """Runs shards, and does not wait for the output's store."""
    return ShardRunner(
        folder,
        job,
        null_identity(),
        cast("Flow", NullFlow(look)),
        rules,
        BackfillPolicy(**policy),
        8,
        sleep=lambda _: asyncio.sleep(0),
    )


def table(folder: Folder, name: str) -> list[dict[str, Any]]:
    found = folder.read(name)
    assert found is not None, name
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(found.body)).to_pylist()
    return rows


def committed_metadata(folder: Folder, shard: int) -> dict[str, Any]:
    found = folder.read(layout.data_file(shard))
    assert found is not None
    metadata = pq.read_metadata(io.BytesIO(found.body)).metadata
    return cast("dict[str, Any]", json.loads(metadata[b"clipstream"]))


def outcomes(folder: Folder) -> dict[str, str]:
    """The code of each committed row by its key; empty for a row with scores.

    Raises:
        AssertionError: a row has two outcomes.
    """
    found: list[tuple[str, str]] = []
    for name in folder.names(layout.DATA):
        found += [(row["key"], "") for row in table(folder, name)]
        shard = layout.shard_of(name)
        assert shard is not None
        errors = committed_metadata(folder, shard)["errors_file"]
        if errors is not None:
            found += [(row["key"], row["code"]) for row in table(folder, errors)]
    assert len(dict(found)) == len(found), "a row has two outcomes"
    return dict(found)


def expected(keys: Iterable[str]) -> dict[str, str]:
    """What an undisturbed run finds."""
    return {key: "fetch.not_found" if key.startswith(BAD) else "" for key in keys}
