"""What other programs read of a data file: scores by label, embeddings, nothing of it guessed."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow.parquet as pq
import pytest

from pipeline.adapters.parquet.results import Result
from tests.rigs.stages.backfill_rows import (
    DIMENSION,
    Dtype,
    classified,
    plan_row,
    results_file,
    some_result,
    unit_vectors,
)

# Typed poorly or not at all.
duckdb: Any = importlib.import_module("duckdb")
datasets: Any = importlib.import_module("datasets")
lance: Any = importlib.import_module("lance")

ROWS = 60
ODD = ("a b", "a.b", 'q"uote', "it's", "naïve ✓", "漢字", "list.element", "SELECT", "Nude", "nude")
SETS = {"moderation": ("nudity", "violence"), "odd.set-1": ODD}
VECTORS = unit_vectors(ROWS)


def rows(dtype: Dtype) -> list[Result]:
    """The odd label set is asked for by every second row."""
    found: list[Result] = []
    for number in range(ROWS):
        row = plan_row(number)
        names = list(SETS)[: 1 + number % 2]
        results = tuple(some_result(name, SETS[name], number) for name in names)
        found.append((row, classified(row, VECTORS[number], results, dtype)))
    return found


@pytest.fixture(scope="module", params=["float32", "float16"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "data"
    folder.mkdir()
    dtype: Dtype = request.param
    found = rows(dtype)
    (folder / "000000.parquet").write_bytes(results_file(found[:40], SETS, dtype=dtype))
    (folder / "000001.parquet").write_bytes(results_file(found[40:], SETS, dtype=dtype))
    (folder / "000002.parquet").write_bytes(results_file([], SETS, dtype=dtype))
    return folder


def nudity(number: int) -> float:
    return number % 10 / 20


def test_duckdb_reads_every_label_under_its_name(written: Path) -> None:
    for place, label in enumerate(ODD[:-1]):
        quoted = label.replace('"', '""')
        found = duckdb.sql(
            f'SELECT "row", "odd.set-1".scores."{quoted}" FROM \'{written}/*.parquet\' '
            'WHERE "odd.set-1" IS NOT NULL'
        ).fetchall()
        assert sorted(found) == [(n, (n % 10 + place) / 20) for n in range(1, ROWS, 2)]


def test_duckdb_finds_the_nearest_by_cosine(written: Path) -> None:
    wanted = VECTORS[17].tolist()
    found = duckdb.execute(
        f"SELECT key, array_cosine_similarity(embedding::FLOAT[{DIMENSION}], "
        f"?::FLOAT[{DIMENSION}]) AS nearness FROM '{written}/*.parquet' "
        "ORDER BY nearness DESC LIMIT 3",
        [wanted],
    ).fetchall()
    assert found[0][0] == "2024/0017.jpg"
    assert found[0][1] == pytest.approx(1.0, abs=1e-3)
    assert found[1][1] < 0.5


def test_polars_reads_one_field_and_the_vectors(written: Path) -> None:
    frame = polars.scan_parquet(f"{written}/*.parquet").select(
        "row",
        polars.col("moderation").struct.field("scores").struct.field("nudity"),
        "embedding",
    )
    table = frame.collect().sort("row")
    assert table["nudity"].to_list() == [nudity(number) for number in range(ROWS)]
    np.testing.assert_allclose(table["embedding"].to_numpy(), VECTORS, atol=1e-3)


def test_pyarrow_reads_one_field_alone(written: Path) -> None:
    table = pq.read_table(written, columns=["row", "moderation.scores.nudity"])
    assert table["nudity"].to_pylist() == [nudity(number) for number in table["row"].to_pylist()]


def test_hugging_face_reads_labels_and_vectors(written: Path, tmp_path: Path) -> None:
    found = datasets.Dataset.from_parquet(
        [str(path) for path in sorted(written.glob("*.parquet"))], cache_dir=str(tmp_path)
    )
    assert len(found) == ROWS
    row = found[17]
    assert row["moderation"]["scores"]["nudity"] == nudity(17)
    np.testing.assert_allclose(row["embedding"], VECTORS[17], atol=1e-3)


def test_lance_takes_the_files_as_they_are_and_searches(written: Path, tmp_path: Path) -> None:
    table = pq.read_table(written, columns=["key", "content_id", "moderation", "embedding"])
    made = lance.write_dataset(table, str(tmp_path / "images.lance"))
    nearest = made.to_table(
        nearest={"column": "embedding", "q": VECTORS[17], "k": 1}, columns=["key"]
    )
    assert nearest["key"].to_pylist() == ["2024/0017.jpg"]
    only = made.to_table(columns={"nudity": "moderation.scores.nudity"})
    assert sorted(only["nudity"].to_pylist()) == sorted(map(nudity, range(ROWS)))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_without_arrows_schema_every_reader_sees_a_list(dtype: Dtype, tmp_path: Path) -> None:
    body = results_file(rows(dtype), SETS, dtype=dtype, store_schema=False)
    schema = pq.ParquetFile(io.BytesIO(body)).schema_arrow
    assert b"ARROW:schema" not in (schema.metadata or {})
    assert str(schema.field("embedding").type).startswith("list<")
    (tmp_path / "a.parquet").write_bytes(body)
    counted = duckdb.sql(f"SELECT count(embedding[1]) FROM '{tmp_path}/a.parquet'").fetchall()
    assert counted == [(ROWS,)]


def test_embeddings_can_be_left_out() -> None:
    body = results_file(rows("float32"), SETS, dimension=None)
    assert "embedding" not in pq.ParquetFile(io.BytesIO(body)).schema_arrow.names
