"""What a job says of itself, and which differences end a worker."""

from __future__ import annotations

import pytest

from pipeline.backfill.control import Control, Lease, Wish
from pipeline.backfill.job import Identity, Job, Source
from pipeline.errors import Halt
from tests.rigs.stages.null_shards import null_identity

JOB = Job(
    id="j",
    created_at="2026-11-01T00:00:00+00:00",
    clipstream_version="1",
    source=Source(uri="s3://photos/", kind="listing", options={"limit": "5"}),
    attempt="a",
    rows=10,
    bytes=100,
    shards=1,
    shard_rows=10,
    plan_hash="h",
    left_out={"folder": 1},
)


@pytest.mark.parametrize(
    "written",
    [JOB, null_identity(), Control(wish=Wish.PAUSE), Lease(driver="d", host="h", renewed_at="now")],
)
def test_what_is_written_is_read_back(written: Job | Identity | Control | Lease) -> None:
    assert type(written).of_bytes(written.as_bytes(), "x.json") == written


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", JOB.as_bytes()[:-9]])
def test_what_another_program_wrote_is_named(body: bytes) -> None:
    with pytest.raises(Halt, match=r"job\.json") as raised:
        Job.of_bytes(body, "job.json")
    assert raised.value.code == "backfill.unreadable"


def test_a_field_of_a_later_release_is_not_ignored() -> None:
    with pytest.raises(Halt):
        Job.of_bytes(JOB.as_bytes().replace(b'"rows"', b'"lines": 1, "rows"', 1), "job.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "other"),
        ("revision", "2"),
        ("dimension", 17),
        ("logit_scale", 1.0),
        ("precision", "bf16"),
        ("engine", "torch-cuda"),
        ("decode_mode", "fast"),
        ("decode_crop", "none"),
        ("embedding_dtype", "float16"),
        ("decode_views", "all, at most 9, up to 0.1 unseen"),
    ],
)
def test_a_worker_that_computes_in_another_way_is_refused(field: str, value: object) -> None:
    job = null_identity()
    here = job.model_copy(update={field: value})
    with pytest.raises(Halt) as raised:
        job.require(here)
    assert raised.value.code == "backfill.another_identity"
    assert f"{field} is {value} here and {getattr(job, field)} in the job" in raised.value.message


@pytest.mark.parametrize(
    ("label_sets", "told"),
    [
        ({"chaos": "v2"}, "label set chaos is v2 here and v1 in the job"),
        ({}, "label set chaos is not loaded here and v1 in the job"),
        ({"chaos": "v1", "new": "v3"}, "label set new is v3 here and not loaded in the job"),
    ],
)
def test_every_change_of_label_sets_is_named(label_sets: dict[str, str], told: str) -> None:
    job = null_identity()
    assert job.difference(job.model_copy(update={"label_sets": label_sets})) == told


def test_a_job_of_centres_is_written_as_by_releases_before() -> None:
    assert b"decode_views" not in null_identity().as_bytes()
    views = null_identity().model_copy(update={"decode_views": "all"})
    assert Identity.of_bytes(views.as_bytes(), "x.json") == views


def test_the_same_is_no_difference() -> None:
    null_identity().require(null_identity())
