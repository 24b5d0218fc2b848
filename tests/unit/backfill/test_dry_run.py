"""What a dry run says of time, regions and money."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.adapters.manifests.kinds import Dedupe
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt
from workers.backfill.planning_request import Request
from workers.commands.backfill import commands, dry_run
from workers.commands.backfill.dry_run import Asked
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy

SETTINGS = Settings(
    s3=S3Policy(allowed_buckets=("photos", "archive")),
    workers=WorkersPolicy(count=4, gpus_per_worker=0.5),
)


class Output(MemoryFolder):
    def close(self) -> None:
        pass


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    """An empty output, and two buckets on AWS: one here, one elsewhere."""
    folder = Output()
    monkeypatch.setattr(dry_run, "open_output", lambda settings, output: folder)
    regions = {"photos": "us-east-1", "archive": "eu-west-1"}
    monkeypatch.setattr(dry_run, "_regions", lambda settings, buckets: dict(regions))
    monkeypatch.setattr(dry_run, "own_region", lambda: None)
    return folder


def said(folder: Path, asked: Asked) -> str:
    path = folder / "m.csv"
    lines = ["bucket,key,size", "photos,a,500000000000", "archive,b,250000000000", "photos,c,"]
    path.write_text("\n".join(lines) + "\n")
    return printed(Request.of(str(path)), asked)


def printed(request: Request, asked: Asked) -> str:
    console = Console(file=io.StringIO(), width=200)
    dry_run.dry_run(SETTINGS, request, "s3://derived/x", asked, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_views_are_part_of_what_a_job_takes(
    tmp_path: Path, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "an image" not in said(tmp_path, Asked(rows_per_second=5.0))
    decode = SETTINGS.decode.model_copy(update={"views": "all", "max_views": 7})
    views = SETTINGS.model_copy(update={"decode": decode})
    monkeypatch.setattr(sys.modules[__name__], "SETTINGS", views)
    text = said(tmp_path, Asked(rows_per_second=5.0))
    assert "views      up to 7 an image (decode.views: all); each costs the model as much" in text
    assert "the given rate must be one with these views" in text
    assert "the given rate" not in said(tmp_path, Asked())


def test_rows_bytes_and_shards_come_from_the_source(tmp_path: Path, output: Output) -> None:
    text = said(tmp_path, Asked())
    assert "rows       3\n" in text
    assert "bytes      750.0 GB, without 1 rows of unknown size\n" in text
    assert list(output.names()) == []


def test_copies_cost_no_request_no_transfer_and_no_time(tmp_path: Path, output: Output) -> None:
    path = tmp_path / "m.csv"
    rows = [f"archive,{number},500000000000,{'a' * 32}" for number in range(4)]
    path.write_text("\n".join(["bucket,key,size,etag", *rows]) + "\n")
    asked = Asked(rows_per_second=1 / 3600 / 4, cluster_region="us-east-1")
    request = Request.of(str(path), dedupe=Dedupe.ETAG_AND_SIZE)
    text = printed(request, asked)
    assert "rows       4\ncopies     3 rows, whose objects are not read\n" in text
    assert "bytes      2.0 TB, of which 500.0 GB are read\n" in text
    assert "hours      1.00 with" in text
    assert "transfer   $10.00 from archive" in text


def test_transfer_is_named_where_bucket_and_cluster_differ(tmp_path: Path, output: Output) -> None:
    text = said(tmp_path, Asked(cluster_region="us-east-1"))
    assert "transfer   $5.00 from archive in eu-west-1 to us-east-1, at $0.02 a GB" in text
    assert "from photos" not in text


def test_an_unknown_region_of_the_cluster_is_asked_for(tmp_path: Path, output: Output) -> None:
    text = said(tmp_path, Asked())
    assert "transfer   unknown; archive is in eu-west-1, add --cluster-region REGION" in text


def test_all_is_added_up_once_rate_and_price_are_known(tmp_path: Path, output: Output) -> None:
    rate = 3 / 3600 / 4
    text = said(
        tmp_path,
        Asked(gpu_hour_price=3.0, rows_per_second=rate, cluster_region="us-east-1"),
    )
    assert "hours      1.00 with 4 workers of" in text
    assert "GPU hours  2.00 with 0.5 GPUs a worker" in text
    assert "GPUs       $6.00" in text
    assert "total      $11.00" in text


def test_a_total_never_hides_what_is_unknown(tmp_path: Path, output: Output) -> None:
    rate = 3 / 3600 / 4
    for asked in (Asked(), Asked(rows_per_second=rate, cluster_region="us-east-1")):
        assert "total      unknown" in said(tmp_path, asked)
    without_region = Asked(gpu_hour_price=3.0, rows_per_second=rate)
    assert "total      $6.00 and the transfer" in said(tmp_path, without_region)


def test_a_backfill_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "_PACKAGES", ("no_such_package",))
    with pytest.raises(Halt, match=r"no_such_package.*install clipstream\[backfill\]"):
        commands.root()
