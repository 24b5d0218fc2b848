"""`clipstream backfill rescore` and `erase` on a real S3 server."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.folder import S3Folder
from pipeline.backfill import layout
from pipeline.backfill.committing import PLAN
from tests.rigs.stages.backfill_job import (
    ENCODER,
    LAST_FAILS,
    compiled,
    label_set,
    table_of,
    write_job,
)
from workers.backfill.output import Output, open_output
from workers.commands.backfill.revising.erase import run_erase
from workers.commands.backfill.revising.rescore import default_output, run_rescore
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings

pytestmark = pytest.mark.component

SOURCE = "s3://derived/2024"
OLD, NEW = label_set("animals", 0.9), label_set("animals", 0.2)


@pytest.fixture
def settings(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of a store with a finished job."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    settings = Settings.model_validate(
        {
            "s3": {
                "endpoint": s3_server.endpoint,
                "region": s3_server.region,
                "allowed_buckets": ["photos"],
            },
            "label_sets": {"text_cache_dir": str(tmp_path / "texts")},
        }
    )
    with contextlib.closing(S3Admin(settings.s3)) as admin:
        admin.create_bucket("derived")
        with contextlib.closing(S3Folder(settings.s3, "derived", "2024/")) as folder:
            write_job(folder, compiled(OLD))
        yield settings


def test_a_job_is_scored_again_and_then_an_object_is_erased(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "animals.yaml"
    file.write_text(yaml.safe_dump(NEW))
    told = io.StringIO()
    console = Console(file=told, width=200)
    for _ in range(2):
        run_rescore(settings, SOURCE, [file], None, console, lambda settings: ENCODER)
    said = told.getvalue()
    assert f"{2 * LAST_FAILS} rows scored now" in said
    assert "0 rows scored now" in said
    assert "decision allow -> block" in said
    assert "s3://photos/2024/0-" in said

    uri = default_output(
        Output.of(SOURCE), {each.label_set.name: each.version for each in compiled(NEW)}
    )
    keys = tmp_path / "keys.txt"
    keys.write_text("s3://photos/2024/0-003.jpg\n")
    with contextlib.closing(open_output(settings, Output.of(uri))) as child:
        before = table_of(child, layout.data_file(0))
        assert len(before) == LAST_FAILS
        run_erase(settings, uri, keys, console)
        left = table_of(child, layout.data_file(0))
        assert left == [row for row in before if row["row"] != 3]
        metadata = child.metadata(layout.data_file(0))
        assert metadata is not None
        assert metadata[PLAN] == "hash of the plan"
        for name in child.names():
            found = child.read(name)
            assert found is not None
            if name.endswith(".json"):
                assert b"0-003.jpg" not in found.body, name
        erased = child.read(layout.ERASED)
        assert erased is not None
        assert json.loads(erased.body)["erasures"][0]["results"] == 1
    with contextlib.closing(open_output(settings, Output.of(SOURCE))) as parent:
        assert len(table_of(parent, layout.data_file(0))) == LAST_FAILS
