"""Names of a job's objects."""

from __future__ import annotations

import pytest

from pipeline.backfill import layout


@pytest.mark.parametrize("shard", [0, 1, 999_999])
def test_a_data_file_names_its_shard(shard: int) -> None:
    assert layout.shard_of(layout.data_file(shard)) == shard


def test_data_files_sort_as_their_shards_do() -> None:
    shards = [0, 9, 10, 99, 100, 12_345, layout.MAX_SHARDS - 1]
    assert sorted(map(layout.data_file, shards)) == list(map(layout.data_file, shards))


@pytest.mark.parametrize(
    "name",
    [
        "data/1.parquet",
        "data/000001.parquet.tmp",
        "data/x/000001.parquet",
        "data/0000001.parquet",
        "data/00000a.parquet",
        "data/",
        "errors/000001.parquet",
        "data/000001.parquet\n",
        "data/00000\N{ARABIC-INDIC DIGIT ONE}.parquet",
    ],
)
def test_other_names_are_no_shards(name: str) -> None:
    assert layout.shard_of(name) is None


def test_attempts_share_no_names() -> None:
    assert layout.errors_file(1, "a" * 64) != layout.errors_file(1, "b" * 64)
    assert layout.plan_file("one", 1) != layout.plan_file("two", 1)
