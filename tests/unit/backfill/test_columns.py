"""The columns of a backfill's files: what is in them, how they are stored, what describes them."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.dev.reference import columns as described
from deploy.dev.reference.pages import ROOT
from pipeline.adapters.parquet.columns import FAILURES, Stored, leaves, results
from pipeline.adapters.parquet.failures import failures_bytes
from pipeline.adapters.parquet.results import Result
from pipeline.errors import Halt
from tests.rigs.stages.backfill_rows import (
    Dtype,
    classified,
    failed,
    plan_row,
    results_file,
    some_result,
    unit_vectors,
)

SETS = {"moderation": ("nudity", "violence"), "brand": ("cat",)}


def rows(dtype: Dtype = "float32") -> list[Result]:
    """The first row asked for one label set, the second for both, the third for the other."""
    found: list[Result] = []
    for number, names in enumerate((["moderation"], ["moderation", "brand"], ["brand"])):
        row = plan_row(number)
        scores = tuple(some_result(name, SETS[name], number) for name in names)
        found.append((row, classified(row, unit_vectors(3)[number], scores, dtype)))
    return found


def opened(body: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(body))


def test_a_label_set_is_null_where_the_row_did_not_ask_for_it() -> None:
    table = opened(results_file(rows(), SETS)).read().to_pylist()
    assert [row["moderation"] is None for row in table] == [False, False, True]
    assert [row["brand"] is None for row in table] == [True, False, False]
    assert table[1]["brand"] == {
        "decision": "review",
        "matched": ["cat"],
        "scores": {"cat": 0.05},
        "similarities": {"cat": 0.0},
        "raised": [],
        "labels_decision": "review",
        "shadow": False,
        "probabilities": {"cat": None},
    }


def test_a_row_group_in_which_nobody_asked_for_a_label_set_is_written() -> None:
    table = opened(results_file(rows(), SETS, group=1)).read()
    assert table["brand"].null_count == 1


def test_a_shard_without_results_has_all_columns_and_its_metadata() -> None:
    file = opened(results_file([], SETS, metadata={"shard": 3}))
    assert (file.metadata.num_rows, len(file.schema_arrow)) == (0, 20)
    assert json.loads(file.metadata.metadata[b"clipstream"]) == {"shard": 3}


@pytest.mark.parametrize(("dtype", "split"), [("float32", True), ("float16", False)])
def test_only_float32_is_split_by_bytes(dtype: Dtype, split: bool) -> None:
    group = opened(results_file(rows(dtype), SETS, dtype=dtype)).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    by_path = {column.path_in_schema: column for column in columns}
    vector = by_path.pop("embedding.list.element")
    assert ("BYTE_STREAM_SPLIT" in vector.encodings) is split
    assert vector.statistics is None
    assert all(column.statistics is not None for column in by_path.values())


def test_the_paths_of_leaves_are_those_of_the_file() -> None:
    file = opened(results_file(rows(), SETS))
    assert list(leaves(file.schema_arrow)) == [
        file.schema.column(place).path for place in range(len(file.schema))
    ]


@pytest.mark.parametrize("names", [["key"], ["Key"], ["EMBEDDING"], ["brand", "Brand"]])
def test_a_label_set_with_the_name_of_another_column_is_refused(names: list[str]) -> None:
    with pytest.raises(Halt, match=r"another name") as refused:
        results({name: ["cat"] for name in names}, Stored(512))
    assert refused.value.code == "backfill.column_taken"


def test_only_a_job_with_views_has_a_column_of_that_name() -> None:
    """A label set may be called so in every other job."""
    results({"Views": ["cat"]}, Stored(512))
    with pytest.raises(Halt, match=r"another name"):
        results({"Views": ["cat"]}, Stored(512, views=True))


def test_failures_have_the_tenant_that_was_decided_and_the_order_of_the_plan() -> None:
    body = failures_bytes([failed(plan_row(2)), failed(plan_row(1), "decode.truncated")])
    table = opened(body).read().to_pylist()
    assert [(row["row"], row["code"]) for row in table] == [
        (1, "decode.truncated"),
        (2, "fetch.not_found"),
    ]


def test_the_description_names_every_column_in_its_order() -> None:
    path = ROOT / "docs/schemas/backfill/columns.v1.json"
    files = json.loads(path.read_text(encoding="utf-8"))["files"]
    data = files["data/*.parquet"]
    schema = results({"moderation": ["nudity"]}, Stored(512, views=True))
    assert [column["name"] for column in data["columns"]] == [
        name for name in schema.names if name != "moderation"
    ]
    assert [column["name"] for column in data["column_of_each_label_set"]["fields"]] == [
        field.name for field in schema.field("moderation").type
    ]
    failures = files["errors/*.parquet"]["columns"]
    assert [column["name"] for column in failures] == FAILURES.names


def test_columns_that_are_never_null_are_told_from_the_others() -> None:
    table = opened(results_file(rows(), SETS)).read()
    never = [
        column["name"]
        for column in json.loads(described.document())["files"]["data/*.parquet"]["columns"]
        if column["null_where"] is None
    ]
    assert {name: table[name].null_count for name in never} == dict.fromkeys(never, 0)
    assert pa.types.is_fixed_size_list(table.schema.field("embedding").type)
