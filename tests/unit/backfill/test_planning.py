"""A plan: cut once, written completely or not at all, and kept to by later commands."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.adapters.manifests.deciding import Choice
from pipeline.adapters.manifests.kinds import Dedupe, InputKind
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.cutting import Cutter, complete
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.adapters.s3.policy import S3Policy
from pipeline.backfill import layout
from pipeline.backfill.job import Job, read_job
from pipeline.errors import Halt, Retry
from tests.rigs.waiting import WAIT_S
from workers.backfill.planning import Planned, cut, plan
from workers.backfill.planning_request import Request
from workers.settings.loading import Settings

SETTINGS = Settings(s3=S3Policy(allowed_buckets=("photos",)))


def manifest(folder: Path, rows: int, name: str = "m.csv") -> str:
    path = folder / name
    lines = (f"photos,{number}.jpg,{number},cat;dog,acme\n" for number in range(rows))
    path.write_text("bucket,key,size,label_sets,tenant\n" + "".join(lines))
    return str(path)


def planned(folder: MemoryFolder, request: Request, shard_rows: int = 4) -> Job:
    job = plan(SETTINGS, folder, request, shard_rows)
    assert job is not None
    return job


def keys(folder: MemoryFolder, job: Job) -> list[list[str]]:
    shards = []
    for shard in range(job.shards):
        found = folder.read(layout.plan_file(job.attempt, shard))
        assert found is not None
        shards.append([row.key for row in plan_rows(found.body)])
    return shards


def test_rows_are_cut_in_their_order_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = MemoryFolder()
    job = planned(folder, Request.of(manifest(tmp_path, 10)))
    assert keys(folder, job) == [
        [f"{number}.jpg" for number in range(start, min(start + 4, 10))] for start in (0, 4, 8)
    ]
    assert (job.rows, job.shards, job.bytes, job.shard_rows) == (10, 3, 45, 4)
    assert read_job(folder) == job
    first = folder.read(layout.plan_file(job.attempt, 0))
    assert first is not None
    row = next(plan_rows(first.body))
    assert (row.label_sets, row.tenant) == (("cat", "dog"), "acme")


def test_the_plan_counts_what_became_no_row(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(
        "bucket,key,size\nphotos,a,1\nphotos,a,1\nphotos,b/,0\nsecrets,c,1\nphotos,d,99\n"
    )
    job = planned(MemoryFolder(), Request.of(str(path), choice=Choice(where="size < 50")))
    assert (job.rows, job.repeated) == (2, 1)
    assert job.left_out == {"bucket_not_allowed": 1, "folder": 1, "where": 1}


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    folder = MemoryFolder()
    job = planned(folder, Request.of(manifest(tmp_path, 10), limit=5))
    assert keys(folder, job) == [["0.jpg", "1.jpg", "2.jpg", "3.jpg"], ["4.jpg"]]


def copies_manifest(folder: Path) -> str:
    """Ten objects of three contents."""
    path = folder / "copies.csv"
    lines = (f"photos,{number}.jpg,7,{number % 3:032x}\n" for number in range(10))
    path.write_text("bucket,key,size,etag\n" + "".join(lines))
    return str(path)


def test_dedupe_brings_copies_together_and_loses_no_row(tmp_path: Path) -> None:
    folder = MemoryFolder()
    request = Request.of(copies_manifest(tmp_path), dedupe=Dedupe.ETAG_AND_SIZE)
    job = planned(folder, request)
    names = [int(key.removesuffix(".jpg")) for shard in keys(folder, job) for key in shard]
    assert names == [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]
    assert (job.rows, job.shards, job.copies) == (10, 3, 6)
    assert job.source.options == {"dedupe": "etag+size"}
    assert job.plan_hash == planned(MemoryFolder(), request).plan_hash


def test_a_limit_counts_rows_and_copies_are_some(tmp_path: Path) -> None:
    folder = MemoryFolder()
    source = copies_manifest(tmp_path)
    job = planned(folder, Request.of(source, limit=5, dedupe=Dedupe.ETAG_AND_SIZE))
    assert keys(folder, job) == [["0.jpg", "3.jpg", "1.jpg", "4.jpg"], ["2.jpg"]]
    assert job.copies == 2
    assert planned(MemoryFolder(), Request.of(source)).copies is None


def test_a_source_without_rows_says_what_was_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("bucket,key\nsecrets,c\n")
    with pytest.raises(Halt, match=r"1 bucket_not_allowed.*allow bucket secrets") as halt:
        plan(SETTINGS, MemoryFolder(), Request.of(str(path)), 4)
    assert halt.value.code == "backfill.no_rows"


def test_nothing_is_left_of_a_plan_that_meets_a_wrong_row(tmp_path: Path) -> None:
    source = Path(manifest(tmp_path, 200_000))
    source.write_text(source.read_text() + "photos,z,many,,\n")
    folder = MemoryFolder()
    with pytest.raises(Halt, match="row 200,001"):
        plan(SETTINGS, folder, Request.of(str(source)), 1000)
    assert list(folder.names()) == []


def test_a_plan_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    folder = MemoryFolder()
    seen: list[int] = []

    def tell(planned: Planned) -> bool:
        seen.append(planned.rows)
        return False

    assert plan(SETTINGS, folder, Request.of(manifest(tmp_path, 10)), 4, tell) is None
    assert (seen, list(folder.names())) == ([10], [])


def test_a_store_that_fails_ends_the_plan(tmp_path: Path) -> None:
    class Failing(MemoryFolder):
        def write(self, name: str, body: bytes, metadata: Mapping[str, str] = {}) -> None:
            raise Retry("fetch.failed", "the store is down")

    with pytest.raises(Retry, match="the store is down"):
        plan(SETTINGS, Failing(), Request.of(manifest(tmp_path, 10)), 4)


def test_more_shards_than_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_SHARDS", 2)
    assert planned(MemoryFolder(), Request.of(manifest(tmp_path, 8))).shards == 2
    with pytest.raises(Halt, match=r"raise backfill\.shard_rows"):
        plan(SETTINGS, MemoryFolder(), Request.of(manifest(tmp_path, 9)), 4)


def test_of_two_drivers_one_plans_and_the_other_takes_its_job(tmp_path: Path) -> None:
    request = Request.of(manifest(tmp_path, 10))
    folder = MemoryFolder()
    first = planned(folder, request)
    assert planned(folder, request) == first
    other = Request.of(manifest(tmp_path, 10, "other.csv"))
    with pytest.raises(Halt) as halt:
        plan(SETTINGS, folder, other, 4)
    assert halt.value.code == "backfill.another_source"


def test_a_dry_cut_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    request = Request.of(manifest(tmp_path, 10))
    job = planned(MemoryFolder(), request)
    dry = cut(SETTINGS, request, 4, "dry", None)
    assert (
        dry.model_copy(
            update={
                name: getattr(job, name) for name in ("id", "attempt", "created_at", "plan_hash")
            }
        )
        == job
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"uri": "s3://b/"}, "the source is s3://b/ here and s3://a/ in the job"),
        ({"choice": Choice(where="size > 1")}, "--where is size > 1 here and not given in the job"),
        ({"choice": Choice(sample=0.5)}, "--sample is 0.5 here"),
        ({"limit": 3}, "--limit is 3 here"),
        ({"kind": InputKind.CSV, "carried": ("x",)}, "--carry is x here"),
        ({"dedupe": Dedupe.ETAG_AND_SIZE}, "--dedupe is etag+size here and not given in the job"),
    ],
)
def test_a_job_keeps_its_source_and_options(other: dict[str, object], said: str) -> None:
    job = Job(
        id="j",
        created_at="",
        clipstream_version="",
        source=Request.of("s3://a/").source,
        attempt="a",
        rows=1,
        bytes=1,
        shards=1,
        shard_rows=1,
        plan_hash="",
    )
    Request.of("s3://a/", choice=Choice(seed=3)).require_same(job)
    with pytest.raises(Halt) as halt:
        Request.of(**({"uri": "s3://a/"} | other)).require_same(job)  # type: ignore[arg-type]
    assert said in halt.value.message


@pytest.mark.parametrize(
    ("uri", "choice", "carried", "said"),
    [
        ("s3://a/", Choice(), ("x",), "--carry"),
        ("m.csv", Choice(all_versions=True), (), "--all-versions"),
    ],
)
def test_an_option_without_meaning_is_refused(
    uri: str, choice: Choice, carried: tuple[str, ...], said: str
) -> None:
    with pytest.raises(Halt, match=said):
        Request.of(uri, None, choice, None, carried)


def test_a_slow_store_does_not_hold_up_the_reader() -> None:
    """All writes that may run at a time are waited for together."""
    at_once = threading.Barrier(4, timeout=WAIT_S)

    def write(shard: int, body: bytes) -> None:
        at_once.wait()

    cutter = Cutter(100_000, write)
    rows = complete({"bucket": ["b"] * 400_000, "key": ["k"] * 400_000}, 400_000)
    cutter.add(rows)
    cutter.finish()
    cutter.close()
    assert cutter.shards == 4


def test_the_hash_of_a_plan_depends_on_its_rows_in_their_order() -> None:
    def hash_of(keys: list[object]) -> str:
        cutter = Cutter(2, lambda shard, body: None)
        for key in keys:
            cutter.add(complete({"bucket": ["b"], "key": [key]}, 1))
        return cutter.finish()

    assert hash_of(["a", "b", "c"]) == hash_of(["a", "b", "c"])
    assert len({hash_of(["a", "b", "c"]), hash_of(["c", "b", "a"]), hash_of(["a", "b"])}) == 3
