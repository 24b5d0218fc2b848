"""What a later job plans, and what its source has lost."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.manifests.earlier import EarlierObjects
from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.cutting import Rows, complete
from pipeline.adapters.parquet.plan import plan_bytes, plan_rows
from pipeline.backfill import layout
from pipeline.backfill.job import Job
from pipeline.errors import Halt
from workers.backfill.planning import plan
from workers.backfill.planning_request import Request
from workers.settings.loading import Settings

Named = tuple[str, str, str | None, str | None]
"""Bucket, key, version id and ETag."""


def rows_of(objects: Sequence[Named]) -> Rows:
    names = ("bucket", "key", "version_id", "etag")
    columns = {name: [each[at] for each in objects] for at, name in enumerate(names)}
    return complete({**columns, "size_bytes": [7] * len(objects)}, len(objects))


def named(rows: Rows) -> list[Named]:
    names = ("bucket", "key", "version_id", "etag")
    return sorted(zip(*(rows.column(name).to_pylist() for name in names), strict=True), key=repr)


def compared(
    had: Sequence[Named], source: Sequence[Named]
) -> tuple[list[Named], set[tuple[str, str]]]:
    """The new rows of the source, and what it has lost."""
    earlier = EarlierObjects()
    try:
        earlier.add_earlier(rows_of(had))
        for at in range(0, len(source), 2):
            earlier.add(rows_of(source[at : at + 2]))
        new = [each for rows in earlier.new_rows() for each in named(rows)]
        count, path = earlier.removed()
        gone = {(each["bucket"], each["key"]) for each in pq.read_table(path).to_pylist()}
        assert count == len(gone)
        return sorted(new, key=repr), gone
    finally:
        earlier.close()


@pytest.mark.parametrize(
    ("had", "row", "is_new"),
    [
        (("b", "k", None, "e1"), ("b", "k", None, "e1"), False),
        (("b", "k", None, "e1"), ("b", "k", None, "e2"), True),
        (("b", "k", None, "e1"), ("b", "other", None, "e1"), True),
        (("b", "k", None, "e1"), ("c", "k", None, "e1"), True),
        (("b", "k", "v1", "e1"), ("b", "k", "v2", "e1"), False),
        (("b", "k", "v1", "e1"), ("b", "k", "v1", None), False),
        (("b", "k", "v1", "e1"), ("b", "k", "v2", None), True),
        (("b", "k", "v1", "e1"), ("b", "k", None, None), False),
        (("b", "k", None, None), ("b", "k", None, None), False),
        (("b", "k", None, None), ("b", "k", None, "e1"), True),
        (("b", "k", "x", None), ("b", "k", None, "x"), True),
    ],
)
def test_a_row_is_new_unless_an_earlier_job_has_its_object(
    had: Named, row: Named, is_new: bool
) -> None:
    new, gone = compared([had], [row])
    assert new == ([row] if is_new else [])
    assert gone == ({had[:2]} - {row[:2]})


def test_a_source_without_rows_has_lost_everything() -> None:
    assert compared([("b", "k", None, "e"), ("b", "k", None, "f")], []) == ([], {("b", "k")})


objects = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["k", "k/", "é", "a'b", "", "\x01"]),
        st.sampled_from([None, "v1", "v2"]),
        st.sampled_from([None, "e1", "e2"]),
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(objects, objects)
def test_a_comparison_on_disk_equals_one_in_memory(had: list[Named], source: list[Named]) -> None:
    def is_had(row: Named) -> bool:
        bucket, key, version_id, etag = row
        same = [each for each in had if each[:2] == (bucket, key)]
        if etag is not None:
            return any(each[3] == etag for each in same)
        if version_id is not None:
            return any(each[2] == version_id for each in same)
        return bool(same)

    new, gone = compared(had, source)
    assert new == sorted((row for row in source if not is_had(row)), key=repr)
    assert gone == {each[:2] for each in had} - {each[:2] for each in source}


class Outputs:
    """Folders of jobs by their URIs, and the source of the next job."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders: dict[str, MemoryFolder] = {}
        self.source: list[Named] = []
        monkeypatch.setattr("workers.backfill.planning.entries", self._entries)
        monkeypatch.setattr(
            "workers.backfill.planning_since.open_output",
            lambda settings, output: self.folders.setdefault(str(output), MemoryFolder()),
        )
        self._settings = Settings.model_validate({"s3": {"allowed_buckets": ["photos"]}})

    def _entries(self, *_: object) -> Iterator[Rows]:
        yield rows_of(self.source)

    def plan(self, output: str, source: list[Named], *since: str) -> Job:
        self.source = source
        folder = self.folders.setdefault(output, MemoryFolder())
        request = Request.of("s3://photos/", InputKind.LISTING, since=since)
        job = plan(self._settings, folder, request, shard_rows=2)
        assert job is not None
        return job

    def planned(self, output: str) -> set[str]:
        folder = self.folders[output]
        bodies = [folder.read(name) for name in folder.names(layout.PLAN)]
        return {row.key for body in bodies if body is not None for row in plan_rows(body.body)}

    def removed(self, output: str) -> list[Mapping[str, str]]:
        found = self.folders[output].read(layout.REMOVED)
        assert found is not None
        rows: list[Mapping[str, str]] = pq.read_table(io.BytesIO(found.body)).to_pylist()
        return rows


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Outputs:
    return Outputs(monkeypatch)


def listed(**etags: str) -> list[Named]:
    return [("photos", key, None, etag) for key, etag in etags.items()]


def test_a_daily_job_plans_what_changed_and_lists_what_was_removed(outputs: Outputs) -> None:
    outputs.plan("s3://d/1", listed(a="1", b="1", c="1", d="1", e="1"))
    second = outputs.plan("s3://d/2", listed(a="1", b="2", c="1", f="1"), "s3://d/1")
    assert outputs.planned("s3://d/2") == {"b", "f"}
    assert (second.rows, second.removed, second.left_out) == (2, 2, {"earlier": 2})
    assert outputs.removed("s3://d/2") == [{"bucket": "photos", "key": key} for key in "de"]
    assert second.source.options == {"since": "s3://d/1"}
    third = outputs.plan("s3://d/3", listed(b="2", f="1", g="1"), "s3://d/1", "s3://d/2")
    assert outputs.planned("s3://d/3") == {"g"}
    assert third.left_out == {"earlier": 2}


def test_a_job_without_anything_new_has_no_shards(outputs: Outputs) -> None:
    outputs.plan("s3://d/1", listed(a="1"))
    job = outputs.plan("s3://d/2", listed(a="1"), "s3://d/1")
    assert (job.rows, job.shards, job.removed) == (0, 0, 0)


def test_an_empty_source_is_still_refused(outputs: Outputs) -> None:
    outputs.plan("s3://d/1", listed(a="1"))
    with pytest.raises(Halt) as caught:
        outputs.plan("s3://d/2", [], "s3://d/1")
    assert caught.value.code == "backfill.no_rows"


def test_results_say_which_etags_a_plan_without_them_has_read(outputs: Outputs) -> None:
    outputs.plan("s3://d/1", [("photos", "a", None, None), ("photos", "c", None, None)])
    # Of a results file, only the columns that name objects are read.
    results = plan_bytes(rows_of([("photos", "a", None, "1")]))
    outputs.folders["s3://d/1"].write(layout.data_file(0), results)
    outputs.plan("s3://d/2", listed(a="1", c="1"), "s3://d/1")
    assert outputs.planned("s3://d/2") == {"c"}


def test_an_output_without_a_job_is_refused(outputs: Outputs) -> None:
    with pytest.raises(Halt) as caught:
        outputs.plan("s3://d/2", listed(a="1"), "s3://d/none")
    assert caught.value.code == "backfill.invalid"


def test_an_earlier_plan_that_is_gone_is_refused(outputs: Outputs) -> None:
    job = outputs.plan("s3://d/1", listed(a="1"))
    outputs.folders["s3://d/1"].delete(layout.plan_file(job.attempt, 0))
    with pytest.raises(Halt) as caught:
        outputs.plan("s3://d/2", listed(a="1"), "s3://d/1")
    assert caught.value.code == "backfill.plan_missing"
