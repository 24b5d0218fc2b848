"""The report: made of the ends of data files, complete or not, and safe with any key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet import footer as footers
from pipeline.adapters.parquet.columns import Stored
from pipeline.adapters.parquet.footer import read_footer
from pipeline.adapters.parquet.results import ResultsFile
from pipeline.backfill import layout
from pipeline.backfill.cost import GET_PRICE, PUT_PRICE
from pipeline.backfill.job import Identity, Job, Source
from pipeline.backfill.report.footer import Footer
from pipeline.backfill.report.samples import SampledObject, Sampler
from pipeline.backfill.rows import PlanRow
from pipeline.backfill.summary import Tally
from pipeline.errors import Halt
from pipeline.records import Classification, DeadLetter
from tests.rigs.workers.outcomes_of_backfills import LABEL_SET, MODEL, classification
from workers.backfill.report.gather import Gathered, gather
from workers.backfill.report.page import Choice, render, shown_objects

NOW = datetime(2026, 11, 29, tzinfo=UTC)
BEGAN = 1_790_000_000.0
HOSTILE = "<script>alert(1)</script>.jpg"
IDENTITY = Identity(
    model="tiny",
    revision="sha256:0",
    dimension=MODEL.dimension,
    logit_scale=100.0,
    precision="fp32",
    engine="memory",
    decode_mode="fast",
    decode_crop="centre",
    embedding_dtype="float32",
    label_sets={LABEL_SET: "sha256:1"},
)


def job(shards: int, rows: int) -> Job:
    return Job(
        id="a-job",
        created_at="2026-11-29T00:00:00+00:00",
        clipstream_version="0.1.0",
        source=Source(uri="s3://photos/2024/", kind="listing"),
        attempt="one",
        rows=rows,
        bytes=0,
        shards=shards,
        shard_rows=10,
        plan_hash="f" * 64,
    )


def footer(shard: int, *, gpus: float = 0.0, key: str = "a.jpg") -> tuple[Footer, bytes]:
    """A shard of ten rows: one fails, five are cats, and the truth of four is known."""
    tally, sampler = Tally(), Sampler(shard)
    results = ResultsFile({LABEL_SET: ["cat", "dog"]}, Stored(MODEL.dimension))
    written: list[tuple[PlanRow, Classification]] = []
    for number in range(10):
        row = PlanRow(number, "photos", key, truth=("cat",) if number < 4 else None)
        cat = number % 2 == 0
        outcome: Classification | DeadLetter = classification(
            {"cat": 0.9 if cat else 0.05, "dog": 0.3},
            matched=("cat",) if cat else (),
            decision="tag" if cat else "none",
            key=key,
        )
        if number == 9:
            outcome = DeadLetter("decode.truncated", f"{key} is cut off", 1)
        else:
            assert isinstance(outcome, Classification)
            written.append((row, outcome))
        tally.add(outcome, row.truth)
        sampler.add(row, outcome)
    results.write(written)
    told = Footer(
        job="a-job",
        shard=shard,
        attempt="one",
        plan_hash="f" * 64,
        errors_file="errors/x.parquet",
        clipstream_version="0.1.0",
        identity=IDENTITY,
        summary=tally.summary(60.0),
        samples=sampler.samples(),
        began_at=BEGAN + shard * 60,
        ended_at=BEGAN + shard * 60 + 60,
        worker="host/1",
        gpus=gpus,
    )
    return told, results.finish(told.model_dump(mode="json"))


def output(committed: int, shards: int, **how: object) -> MemoryFolder:
    folder = MemoryFolder()
    folder.create(layout.JOB, job(shards, 10 * shards).as_bytes())
    for shard in range(committed):
        folder.create(layout.data_file(shard), footer(shard, **how)[1])  # type: ignore[arg-type]
    return folder


def page(
    gathered: Gathered,
    choice: Choice | None = None,
    pictures: Mapping[SampledObject, str] | None = None,
) -> str:
    return render(gathered, choice or Choice(), pictures or {}, NOW)


def test_a_footer_is_read_from_the_end_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    told, body = footer(3)
    folder = MemoryFolder()
    folder.create("data/000003.parquet", body)
    assert read_footer(folder, "data/000003.parquet") == told
    # A footer that is longer than the first read.
    monkeypatch.setattr(footers, "FIRST_TAIL", 64)
    assert read_footer(folder, "data/000003.parquet") == told
    assert read_footer(folder, "data/000004.parquet") is None


@pytest.mark.parametrize("body", [b"x", b"not Parquet at all", b"PAR1", b"\xff\xff\xff\x7fPAR1"])
def test_a_file_that_is_no_data_file_is_named(body: bytes) -> None:
    folder = MemoryFolder()
    folder.create("data/000000.parquet", body)
    with pytest.raises(Halt, match=r"data/000000\.parquet") as refused:
        read_footer(folder, "data/000000.parquet")
    assert refused.value.code == "backfill.unreadable"


def test_an_output_without_a_job_is_refused() -> None:
    with pytest.raises(Halt) as refused:
        gather(MemoryFolder())
    assert refused.value.code == "backfill.no_job"


def test_what_shards_say_is_added_up_and_other_objects_are_passed_over() -> None:
    folder = output(40, 40)
    folder.create("data/notes.txt", b"mine")
    gathered = gather(folder)
    assert gathered.complete
    assert (gathered.summary.rows, gathered.summary.failed) == (400, 40)
    evidence = gathered.summary.label_sets[LABEL_SET].labels["cat"].evidence
    assert evidence is not None
    assert (evidence.true_rows, evidence.as_decided.recall.value) == (160, 0.5)
    assert gathered.identity == IDENTITY


def test_a_complete_job_says_so_and_an_incomplete_one_says_how_much_is_left() -> None:
    assert "Complete: all 4 shards" in page(gather(output(4, 4)))
    assert "3 of 4 shards are not committed" in page(gather(output(1, 4)))
    assert "Not complete: 2 of 2" in page(gather(output(0, 2)))


def test_the_page_shows_decisions_errors_evidence_samples_and_where_they_come_from() -> None:
    text = page(gather(output(2, 2)))
    for expected in (
        "Decisions of animals",
        "Scores of animals",
        "Evidence for animals",
        "Samples of animals",
        "decode.truncated",
        "the file ends before its image does",
        "50.0% <small>",
        "a-job",
        "sha256:1",
    ):
        assert expected in text


def test_the_page_loads_nothing_runs_nothing_and_escapes_keys_and_messages() -> None:
    text = page(gather(output(2, 2, key=HOSTILE)))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert re.search(r"(?:src|href)=\"(?!data:)", text) is None


def test_gpus_cost_what_their_hour_costs_and_requests_what_aws_lists() -> None:
    gathered = gather(output(60, 60, gpus=0.5))
    requests = 600 * GET_PRICE + 120 * PUT_PRICE
    assert requests < 0.01
    # An hour of half a GPU.
    assert '<td class="number">$2.00</td>' in page(gathered, Choice(gpu_hour_price=4.0))
    without = page(gathered)
    assert "--gpu-hour-price" in without
    assert "$2.00" not in without
    assert "No GPU was used" in page(gather(output(1, 1)), Choice(gpu_hour_price=4.0))


def test_pictures_are_blurred_until_a_person_wants_to_see_them() -> None:
    gathered = gather(output(1, 1))
    objects = shown_objects(gathered, 10)
    pictures = dict.fromkeys(objects, "data:image/jpeg;base64,AA==")
    text = page(gathered, Choice(thumbnails=True), pictures)
    assert 'class="picture blurred"' in text
    assert "show pictures clearly" in text
    clear = page(gathered, Choice(thumbnails=True, clear=True), pictures)
    assert 'class="picture blurred"' not in clear
    assert "show pictures clearly" not in clear
    assert "<img" not in page(gathered)
