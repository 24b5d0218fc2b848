"""Rows of equal content in one shard: one object is read, and each row has its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.cutting import complete
from pipeline.adapters.parquet.plan import plan_bytes
from pipeline.backfill import layout
from pipeline.backfill.ledger import Task
from pipeline.backfill.summary import Summary
from pipeline.flow import Flow
from pipeline.priority import FIRST
from pipeline.records import Classification, DeadLetter, ImageRef, Looked
from pipeline.routes import RoutePolicy
from pipeline.rules import Scoring
from tests.rigs.stages.null_shards import (
    NullFlow,
    committed_metadata,
    keys_of,
    null_job,
    null_rules,
    null_runner,
    outcomes,
    table,
)
from workers.backfill.shard import Progress

MD5 = "0123456789abcdef" * 2


class Store(NullFlow):
    """Objects with the ETag that their row states, but for those that were replaced. Fails with a
    code where a key names one."""

    def __init__(self, replaced: Sequence[str] = ()) -> None:
        self.read: list[str] = []
        super().__init__(lambda ref: self.read.append(ref.key))
        self._replaced = replaced

    async def classify(
        self,
        ref: ImageRef,
        scoring: Scoring,
        level: int = FIRST,
        source: Hashable = None,
        *,
        looked: Looked | None = None,
    ) -> Classification | DeadLetter:
        outcome = await super().classify(ref, scoring, level, source, looked=looked)
        if looked is not None or isinstance(outcome, DeadLetter):
            return outcome
        if "." in ref.key:
            return DeadLetter(ref.key.partition("#")[0], "why", 1, ref=ref)
        return replace(outcome, etag="other" if ref.key in self._replaced else ref.etag)


def run(
    keys: Sequence[str],
    store: Store,
    etags: Sequence[str] = (),
    *,
    copies: int | None = 1,
    folder: MemoryFolder | None = None,
    task: Task = Task(0),  # noqa: B008 - frozen
    routes: Sequence[RoutePolicy] = (),
) -> Summary:
    """Classify a shard of these rows, all of one content unless ``etags`` say otherwise."""
    folder = folder or MemoryFolder()
    job = null_job(folder, list(keys), 1000).model_copy(update={"copies": copies})
    columns = {
        "bucket": ["images"] * len(keys),
        "key": [*keys],
        "etag": [*etags] or [MD5] * len(keys),
        "size_bytes": [100] * len(keys),
    }
    folder.write(layout.plan_file(job.attempt, 0), plan_bytes(complete(columns, len(keys))))
    runner = null_runner(folder, job, rules=null_rules(*routes))
    runner._flow = cast("Flow", store)
    return asyncio.run(runner.run(task, Progress()))


def test_one_object_is_read_and_each_row_is_written() -> None:
    folder, store = MemoryFolder(), Store()
    summary = run(keys_of(4), store, folder=folder)
    assert store.read == ["good-000000"]
    assert (summary.rows, summary.classified, summary.copied, summary.bytes) == (4, 4, 3, 100)
    rows = table(folder, layout.data_file(0))
    assert [row["key"] for row in rows] == keys_of(4)
    assert all(row["embedding"] == rows[0]["embedding"] for row in rows)
    assert len({row["content_id"] for row in rows}) == 4, "each object has its own id"
    samples = committed_metadata(folder, 0)["samples"]["objects"]
    assert [each["key"] for each in samples.values()] == keys_of(1)


def test_without_dedupe_each_row_is_read() -> None:
    store = Store()
    assert run(keys_of(4), store, copies=None).copied == 0
    assert store.read == keys_of(4)


def test_a_copy_is_read_where_the_first_object_could_not_be() -> None:
    store = Store()
    summary = run(["fetch.not_found", "fetch.denied", *keys_of(3)], store)
    assert store.read == ["fetch.not_found", "fetch.denied", "good-000000"]
    assert (summary.classified, summary.failed, summary.copied) == (3, 2, 2)


def test_bytes_that_cannot_be_decoded_fail_under_every_name() -> None:
    folder, store = MemoryFolder(), Store()
    summary = run(["decode.corrupt#0", *keys_of(2)], store, folder=folder)
    assert store.read == ["decode.corrupt#0"]
    assert (summary.codes, summary.copied) == ({"decode.corrupt": 3}, 2)
    assert outcomes(folder) == dict.fromkeys(["decode.corrupt#0", *keys_of(2)], "decode.corrupt")


def test_an_object_that_is_not_what_its_row_says_speaks_for_no_other() -> None:
    store = Store(replaced=["good-000000"])
    assert run(keys_of(3), store).copied == 1
    assert store.read == keys_of(2)


def test_rows_that_are_skipped_or_killed_a_process_are_no_copies() -> None:
    store = Store()
    routes = [RoutePolicy(key="skip-*", skip=True), RoutePolicy(label_sets=("chaos",))]
    summary = run(["skip-1", *keys_of(3), "skip-2"], store, routes=routes)
    assert (summary.skipped, summary.classified, summary.copied) == (2, 3, 2)
    store = Store()
    summary = run(keys_of(3), store, task=Task(0, excluded=(0,)))
    assert store.read == ["good-000001"]
    assert (summary.codes, summary.copied) == ({"internal.process_died": 1}, 1)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["good", "bad", "decode.x"]))),
    st.integers(0, 3),
)
def test_every_row_has_one_outcome_and_no_content_is_looked_at_twice(
    rows: list[tuple[str, str]], replaced: int
) -> None:
    rows.sort(key=lambda each: each[0])
    keys = [f"{kind}#{number}" for number, (_, kind) in enumerate(rows)]
    etags = [content * 32 for content, _ in rows]
    folder, store = MemoryFolder(), Store(replaced=keys[:replaced])
    summary = run(keys, store, etags, folder=folder)
    assert sorted(outcomes(folder)) == sorted(keys)
    assert summary.rows == len(keys) == len(store.read) + summary.copied
    for content in set(etags):
        looked = [
            key
            for key, etag in zip(keys, etags, strict=True)
            if etag == content and key in store.read and not key.startswith("bad")
        ]
        assert len([key for key in looked if key not in keys[:replaced] or "." in key]) <= 1


@pytest.mark.parametrize("copies", [None, 0, 3])
def test_a_plan_that_counted_no_copies_compares_no_rows(copies: int | None) -> None:
    store = Store()
    run(keys_of(4), store, copies=copies)
    assert len(store.read) == (1 if copies else 4)
