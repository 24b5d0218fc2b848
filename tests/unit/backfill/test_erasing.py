"""Rows taken out of a job's files: nowhere named any more, and nothing else changed."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.committed import CommittedFile
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.backfill import layout
from pipeline.backfill.changes import Change, Changes, LabelSetChanges, Sample
from pipeline.backfill.committing import Committed, commit
from pipeline.backfill.erasure import Erasure, Erasures, Targets
from pipeline.backfill.job import Job
from pipeline.backfill.summary import Summary
from pipeline.errors import Halt, Retry
from pipeline.records import JsonValue
from tests.rigs.stages.backfill_job import (
    LAST_FAILS,
    SHARD_ROWS,
    bodies,
    compiled,
    label_set,
    table_of,
    write_job,
)
from tests.rigs.stages.backfill_rows import Dtype
from workers.backfill.revising.erasing import Eraser

SCORING = compiled(label_set("animals", 0.4), label_set("things", 0.5, "car"))
RESULT, FAILURE = "2024/0-003.jpg", "2024/1-019.jpg"
TARGETS = Targets([f"s3://photos/{RESULT}"], [FAILURE])


def erased_from(folder: MemoryFolder, targets: Targets = TARGETS) -> Erasure:
    found = folder.read(layout.JOB)
    assert found is not None
    job = Job.of_bytes(found.body, layout.JOB)
    return Eraser(folder, job, targets).run(threading.Event(), lambda: None)


def written(**options: Any) -> MemoryFolder:
    folder = MemoryFolder()
    write_job(folder, SCORING, shards=3, **options)
    return folder


def rows(folder: MemoryFolder, shard: int) -> list[dict[str, Any]]:
    return table_of(folder, layout.data_file(shard))


def metadata(folder: MemoryFolder, shard: int) -> Mapping[str, Any]:
    found = folder.read(layout.data_file(shard))
    assert found is not None
    return CommittedFile(found.body, "").footer.model_dump(mode="json")


def everything(folder: MemoryFolder) -> dict[str, Any]:
    """What the job's files say, without what differs from run to run."""
    return {
        "results": [rows(folder, shard) for shard in range(3)],
        "failures": [
            table_of(folder, name) if (name := metadata(folder, shard)["errors_file"]) else []
            for shard in range(3)
        ],
        "summaries": [metadata(folder, shard)["summary"] for shard in range(3)],
        "errors files": sorted(folder.names(layout.ERRORS)),
        "plans": [table_of(folder, name) for name in folder.names(layout.PLAN)],
    }


def test_nothing_names_an_erased_object_and_other_rows_stay_as_they_were() -> None:
    folder = written()
    before = everything(folder)
    erasure = erased_from(folder)
    assert (erasure.rows, erasure.results, erasure.failures) == (2, 1, 1)
    for name, body in bodies(folder).items():
        text = body if name.endswith(".json") else str(table_of(folder, name)).encode()
        for key in (RESULT, FAILURE):
            assert key.encode() not in text, name
    after = everything(folder)
    assert after["results"][0] == [row for row in before["results"][0] if row["key"] != RESULT]
    assert after["results"][1:] == before["results"][1:]
    assert [row["row"] for row in after["failures"][1]] == [LAST_FAILS]
    assert (after["failures"][0], after["failures"][2]) == (
        before["failures"][0],
        before["failures"][2],
    )


def test_the_plan_keeps_the_numbers_of_the_other_rows() -> None:
    folder = written()
    erased_from(folder)
    found = folder.read(layout.plan_file("a1", 0))
    assert found is not None
    planned = list(plan_rows(found.body))
    assert [row.number for row in planned if row.erased] == [3]
    assert [row.key for row in planned if not row.erased] == [
        f"2024/0-{number:03}.jpg" for number in range(SHARD_ROWS) if number != 3
    ]


def test_counts_and_histograms_are_of_the_rows_that_are_left() -> None:
    folder = written()
    erased_from(folder)
    for shard, (classified, failed) in enumerate(
        [(LAST_FAILS - 1, 2), (LAST_FAILS, 1), (LAST_FAILS, 2)]
    ):
        summary = Summary.model_validate(metadata(folder, shard)["summary"])
        assert (summary.rows, summary.classified, summary.failed) == (
            classified + failed,
            classified,
            failed,
        )
        animals = summary.label_sets["animals"]
        decisions = [row["animals"]["decision"] for row in rows(folder, shard)]
        assert animals.decisions == {each: decisions.count(each) for each in set(decisions)}
        assert {sum(label.scores) for label in animals.labels.values()} == {classified}


def test_evidence_is_of_the_rows_that_are_left() -> None:
    folder = written(truths=(("cat",), None, (), ("dog", "wolf")))
    before = Summary.model_validate(metadata(folder, 0)["summary"])
    erased_from(folder)
    summary = Summary.model_validate(metadata(folder, 0)["summary"])
    known = [row for row in rows(folder, 0) if row["truth"] is not None]
    for label in ("cat", "dog"):
        evidence = summary.label_sets["animals"].labels[label].evidence
        assert evidence is not None
        true = [row for row in known if label in row["truth"]]
        assert (evidence.rows, evidence.true_rows) == (len(known), len(true))
        matched = [row["row"] for row in known if label in row["animals"]["matched"]]
        assert evidence.true_matched + evidence.false_matched == len(matched)
        assert evidence.true_matched == sum(row["row"] in matched for row in true)
    wolves = [row for row in known if "wolf" in row["truth"]]
    assert (before.unknown_truth["wolf"], summary.unknown_truth["wolf"]) == (4, len(wolves))
    assert len(wolves) == 3


def test_what_a_later_release_says_of_a_file_stays() -> None:
    folder = written()
    found = folder.read(layout.data_file(0))
    assert found is not None
    file = CommittedFile(found.body, "")
    told = file.footer.model_dump(mode="json") | {"later": {"said": 1}}
    results = io.BytesIO()
    with pq.ParquetWriter(results, file.schema.remove_metadata()) as writer:
        writer.write_table(pq.read_table(io.BytesIO(found.body)).cast(writer.schema))
        writer.add_key_value_metadata({"clipstream": json.dumps(told)})
    folder.write(layout.data_file(0), results.getvalue())
    erased_from(folder)
    assert metadata(folder, 0)["later"] == {"said": 1}


def test_the_last_failure_of_a_shard_leaves_no_errors_file() -> None:
    folder = written()
    erased_from(folder, targets=Targets([], [f"2024/1-{row:03}.jpg" for row in (18, 19)]))
    assert metadata(folder, 1)["errors_file"] is None
    assert [name for name in folder.names(layout.ERRORS) if "/000001" in name] == []


@pytest.mark.parametrize("at", range(12))
def test_a_run_that_ends_anywhere_is_finished_by_the_next(at: int) -> None:
    class Failing(MemoryFolder):
        left = 10**6

        def _count(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Retry("output.unreachable", "no")

        def replace(self, *args: Any, **kwargs: Any) -> str | None:
            self._count()
            return super().replace(*args, **kwargs)

        def write(self, *args: Any, **kwargs: Any) -> None:
            self._count()
            super().write(*args, **kwargs)

        def delete(self, name: str) -> None:
            self._count()
            super().delete(name)

    undisturbed = written()
    erased_from(undisturbed)
    folder = Failing()
    write_job(folder, SCORING, shards=3)
    folder.write(layout.SUCCESS, b"{}")
    folder.left = at
    try:
        erased_from(folder)
    except Retry:
        folder.left = 10**6
        erased_from(folder)
    assert everything(folder) == everything(undisturbed)
    assert folder.read(layout.SUCCESS) is None


def test_erasing_again_changes_nothing_but_the_record() -> None:
    folder = written()
    erased_from(folder)
    before = bodies(folder)
    erasure = erased_from(folder)
    assert (erasure.rows, erasure.files) == (0, ())
    assert {name: body for name, body in bodies(folder).items() if before[name] != body}.keys() == {
        layout.ERASED
    }


def test_the_record_has_counts_and_a_hash_of_the_list_but_no_key() -> None:
    folder = written()
    erased_from(folder)
    found = folder.read(layout.ERASED)
    assert found is not None
    (erasure,) = Erasures.of_bytes(found.body, layout.ERASED).erasures
    assert (erasure.targets, erasure.targets_sha256) == (2, TARGETS.digest)
    assert erasure.ended_at is not None
    assert layout.data_file(0) in erasure.files
    assert b"2024/" not in found.body


def test_a_late_worker_still_sees_that_the_shard_is_committed() -> None:
    folder = written()
    erased_from(folder)
    done = commit(folder, layout.data_file(0), b"late", "late", "hash of the plan")
    assert done is Committed.BEFORE


def test_a_file_that_somebody_else_changes_meanwhile_is_not_overwritten() -> None:
    class Shared(MemoryFolder):
        def replace(self, *args: Any, **kwargs: Any) -> str | None:
            self.write(args[0], b"another's")
            return super().replace(*args, **kwargs)

    folder = Shared()
    write_job(folder, SCORING, shards=3)
    with pytest.raises(Halt) as refused:
        erased_from(folder)
    assert refused.value.code == "backfill.changed_meanwhile"


def test_an_answer_that_was_lost_is_no_other_writer() -> None:
    class Losing(MemoryFolder):
        def replace(self, *args: Any, **kwargs: Any) -> str | None:
            super().replace(*args, **kwargs)
            return None

    folder = Losing()
    write_job(folder, SCORING, shards=3)
    assert erased_from(folder).rows == 2


def test_samples_and_what_sums_up_go_too() -> None:
    folder = written()
    kept = Sample(uri="s3://photos/2024/0-004.jpg", shard=0, row=4)
    gone = Sample(uri=f"s3://photos/{RESULT}", shard=0, row=3)
    changes = Changes(
        label_sets={
            "animals": LabelSetChanges(matches={"cat": Change(rows=2, samples=(gone, kept))})
        }
    )
    folder.write(layout.CHANGES, changes.as_bytes())
    folder.write(layout.SUCCESS, b"{}")
    folder.write("report.html", RESULT.encode())
    plan = folder.read(layout.plan_file("a1", 0))
    assert plan is not None
    folder.write("removed.parquet", plan.body)
    erased_from(folder)
    assert [row["key"] for row in table_of(folder, "removed.parquet")] == [
        f"2024/0-{number:03}.jpg" for number in range(SHARD_ROWS) if number != 3
    ]
    found = folder.read(layout.CHANGES)
    assert found is not None
    left = Changes.of_bytes(found.body, layout.CHANGES).label_sets["animals"].matches["cat"]
    assert left.samples == (kept,)
    assert folder.read(layout.SUCCESS) is None
    assert folder.read("report.html") is None


def test_plans_that_were_given_up_and_errors_of_lost_attempts_are_deleted() -> None:
    folder = written(uncommitted=[1])
    plan = folder.read(layout.plan_file("a1", 0))
    assert plan is not None
    folder.write(layout.plan_file("older", 7), plan.body)
    lost = table_of(folder, next(iter(folder.names(f"{layout.ERRORS}000000"))))
    assert lost
    errors = folder.read(next(iter(folder.names(f"{layout.ERRORS}000000"))))
    assert errors is not None
    folder.write(layout.errors_file(1, "f" * 16), errors.body)
    targets = Targets([], [RESULT, "2024/0-019.jpg", "2024/1-019.jpg"])
    erased_from(folder, targets=targets)
    assert list(folder.names("plan/older/")) == []
    assert list(folder.names(f"{layout.ERRORS}000001")) == []


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_way_of_storing_stays(dtype: Dtype) -> None:
    folder = written(dtype=dtype)
    found = folder.read(layout.data_file(0))
    assert found is not None
    before = pq.ParquetFile(io.BytesIO(found.body))
    erased_from(folder)
    found = folder.read(layout.data_file(0))
    assert found is not None
    after = pq.ParquetFile(io.BytesIO(found.body))
    assert after.schema_arrow.remove_metadata() == before.schema_arrow.remove_metadata()
    assert after.metadata.num_row_groups == before.metadata.num_row_groups
    for column in range(after.metadata.num_columns):
        ours, theirs = (file.metadata.row_group(0).column(column) for file in (after, before))
        assert (ours.compression, ours.encodings) == (theirs.compression, theirs.encodings)


def test_keys_are_read_a_line_each_and_keys_with_line_breaks_as_json() -> None:
    lines = ["s3://photos/a b.jpg\n", "\n", "c.jpg\r\n", '"d\\ne.jpg"\n', "c.jpg\n"]
    targets = Targets.of_lines(lines, "keys.txt")
    assert targets.in_bucket == {"photos": {"a b.jpg"}}
    assert targets.keys == {"c.jpg", "d\ne.jpg"}
    assert len(targets) == 3


@pytest.mark.parametrize("line", ["s3://photos", "s3://photos/", '"open', '"a" b'])
def test_a_line_that_names_no_object_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(Halt, match=r"keys.txt:2: is no object"):
        Targets.of_lines(["a.jpg", line], "keys.txt")


def test_a_uri_erases_in_its_bucket_alone() -> None:
    folder = written()
    assert erased_from(folder, targets=Targets([f"s3://others/{RESULT}"], [])).rows == 0
    assert len(rows(folder, 0)) == LAST_FAILS


def test_what_mentions_an_erased_row_or_object_goes_from_a_files_metadata() -> None:
    told: JsonValue = {
        "objects": {"3": {"bucket": "photos", "key": RESULT}, "4": {"key": "2024/0-004.jpg"}},
        "scored": {"cat": [[{"row": 3, "score": 0.5}, {"row": 4, "score": 0.6}], []]},
        "failed": {"fetch.not_found": [{"row": 5, "message": f"s3://photos/{RESULT}: is gone"}]},
        "slowest": f"s3://photos/{RESULT}",
        "attempt": "a",
    }
    assert TARGETS.without(told, {3}) == {
        "objects": {"4": {"key": "2024/0-004.jpg"}},
        "scored": {"cat": [[{"row": 4, "score": 0.6}], []]},
        "failed": {"fetch.not_found": []},
        "attempt": "a",
    }
