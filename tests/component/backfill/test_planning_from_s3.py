"""Plans of what lies on a real S3 server: manifests, what they name, and dry runs."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ReadTimeoutError
from rich.console import Console

from pipeline.adapters.manifests.deciding import Choice
from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.parquet.plan import plan_rows
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.downloads import S3Downloads
from pipeline.adapters.s3.policy import S3Policy
from pipeline.backfill import layout
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from tests.rigs.stages.decoding import as_file, noise
from workers.backfill.output import Output, open_output
from workers.backfill.planning import cut, plan
from workers.backfill.planning_rate import Sampled, measured_rate
from workers.backfill.planning_request import Request
from workers.commands.backfill.dry_run import Asked, dry_run
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings, load_settings

pytestmark = pytest.mark.component

KEYS = [f"2024/{number} é+%.png" for number in range(12)]
MANIFEST = "inv/daily/2026-11-27T01-00Z/manifest.json"


@dataclass
class Place:
    settings: Settings
    admin: S3Admin

    def written(self, output: str) -> list[str]:
        bucket, _, prefix = output.removeprefix("s3://").partition("/")
        return [each.key for each in self.admin.list_objects(bucket, prefix)]

    def planned_keys(self, request: Request, output: str) -> list[str]:
        with contextlib.closing(open_output(self.settings, Output.of(output))) as folder:
            job = plan(self.settings, folder, request, 5)
            assert job is not None
            bodies = [folder.read(layout.plan_file(job.attempt, n)) for n in range(job.shards)]
            return [row.key for body in bodies if body for row in plan_rows(body.body)]


@pytest.fixture(scope="module")
def place(s3_server: S3Server) -> Iterator[Place]:
    os.environ.update(
        AWS_ACCESS_KEY_ID=s3_server.access_key, AWS_SECRET_ACCESS_KEY=s3_server.secret_key
    )
    s3 = {
        "endpoint": s3_server.endpoint,
        "region": s3_server.region,
        "allowed_buckets": ["planned-photos"],
    }
    labels = str(ROOT / "workers/demo/labels.yaml")
    settings = load_settings(
        flags={
            **{f"s3.{name}": value for name, value in s3.items()},
            "label_sets.paths": [labels],
            "workers.gpus_per_worker": 0,
        },
        environment={},
    )
    with contextlib.closing(S3Admin(S3Policy(**s3))) as admin:
        for bucket in ("planned-photos", "planned-lists", "planned-output"):
            admin.create_bucket(bucket)
        etags = [
            admin.put("planned-photos", key, as_file(noise(40, 30 + at))).etag
            for at, key in enumerate(KEYS)
        ]
        _put_inventory(admin, etags)
        rows = pa.table({"uri": [f"s3://planned-photos/{key}" for key in KEYS]})
        for part in range(2):
            buffer = io.BytesIO()
            pq.write_table(rows.slice(part * 6, 6), buffer)
            admin.put("planned-lists", f"lists/{part}.parquet", buffer.getvalue())
        yield Place(settings, admin)


def _put_inventory(admin: S3Admin, etags: list[str | None]) -> None:
    coded = [key.replace("%", "%25").replace("+", "%2B").replace(" ", "+") for key in KEYS]
    lines = [f'"planned-photos","{k}","7","{e}"\n' for k, e in zip(coded, etags, strict=True)]
    data = gzip.compress("".join(lines).encode())
    admin.put("planned-lists", "inv/daily/data/0.csv.gz", data)
    listed = {"key": "inv/daily/data/0.csv.gz", "size": len(data), "MD5checksum": _md5(data)}
    manifest = {
        "destinationBucket": "arn:aws:s3:::planned-lists",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, ETag",
        "files": [listed],
    }
    body = json.dumps(manifest).encode()
    admin.put("planned-lists", MANIFEST, body)
    checksum = MANIFEST.replace("manifest.json", "manifest.checksum")
    admin.put("planned-lists", checksum, _md5(body).encode())


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("listing", Request.of("s3://planned-photos/2024/")),
        ("inventory", Request.of(f"s3://planned-lists/{MANIFEST}")),
        ("folder", Request.of("s3://planned-lists/lists/", InputKind.PARQUET)),
    ],
)
def test_each_source_names_the_same_objects(place: Place, name: str, request_: Request) -> None:
    output = f"s3://planned-output/{name}"
    assert sorted(place.planned_keys(request_, output)) == sorted(KEYS)
    assert len(place.written(output)) == 3 + 1


def test_a_manifest_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(Halt, match=r"s3://planned-lists/none\.csv: there is no such object"):
        place.planned_keys(Request.of("s3://planned-lists/none.csv"), "s3://planned-output/none")


def test_an_object_that_is_written_anew_while_it_is_read_is_refused(place: Place) -> None:
    """The first answer breaks off, and the second one would be of another object."""
    place.admin.put("planned-lists", "large", b"a" * 5_000_000)

    class Breaking(io.BytesIO):
        def write(self, body: object, /) -> int:
            if not self.tell():
                place.admin.put("planned-lists", "large", b"b" * 5_000_000)
            written = super().write(body)  # type: ignore[arg-type]
            if self.tell() == written:
                raise ReadTimeoutError(endpoint_url="s3")
            return written

    with (
        contextlib.closing(S3Downloads(place.settings.s3)) as downloads,
        pytest.raises(Halt, match="was written anew"),
    ):
        downloads.download("planned-lists", "large", Breaking())


def test_a_dry_run_says_what_a_job_takes_and_writes_nothing(place: Place) -> None:
    said = _dry(place, Asked(rows_per_second=0.01), Choice(where="size > 0"))
    assert "rows       12\n" in said
    assert "shards     1 of at most 5,000 rows" in said
    assert "hours      0.33 with 1 workers of 0.01 rows/s, as given" in said
    assert "this store is not AWS" in said
    assert said.endswith("Nothing was written.\n")
    assert place.written("s3://planned-output/dry") == []


def test_a_dry_run_without_a_rate_guesses_no_hours(place: Place) -> None:
    said = _dry(place, Asked(), Choice())
    assert "hours      unknown; add --rows-per-second" in said
    assert "total      unknown" in said


def test_a_dry_run_of_a_job_that_is_there_says_so(place: Place) -> None:
    request = Request.of(f"s3://planned-lists/{MANIFEST}")
    place.planned_keys(request, "s3://planned-output/there")
    console = _console()
    dry_run(place.settings, request, "s3://planned-output/there", Asked(), console)
    assert "has this job already: 12 rows in 3 shards" in console.file.getvalue()  # type: ignore[attr-defined]
    other = Request.of(f"s3://planned-lists/{MANIFEST}", limit=2)
    with pytest.raises(Halt, match="--limit is 2 here"):
        dry_run(place.settings, other, "s3://planned-output/there", Asked(), console)


def test_the_rate_is_measured_on_real_objects(place: Place) -> None:
    request = Request.of("s3://planned-lists/lists/", InputKind.PARQUET)
    sampled = Sampled(8)
    job = cut(place.settings, request, 5, "dry", None, each=sampled.add)
    assert sampled.rows is not None
    assert sampled.rows.num_rows == 8
    assert len({*sampled.rows.column("key").to_pylist()}) == 8
    rate = measured_rate(place.settings, job, sampled.rows, lambda settings: MemoryEncoder(crop=32))
    assert rate > 0


def _dry(place: Place, asked: Asked, choice: Choice) -> str:
    console = _console()
    request = Request.of(f"s3://planned-lists/{MANIFEST}", choice=choice)
    dry_run(place.settings, request, "s3://planned-output/dry", asked, console)
    said: str = console.file.getvalue()  # type: ignore[attr-defined]
    return said


def _console() -> Console:
    return Console(file=io.StringIO(), width=200)
