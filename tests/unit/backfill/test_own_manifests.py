"""A person's own manifests: what becomes a row, and which row a complaint names."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.adapters.manifests.kinds import InputKind, kind_of
from pipeline.adapters.manifests.own import own_entries
from pipeline.errors import Halt
from workers.backfill.planning_files import ManifestFiles
from workers.settings.loading import Settings

ODD_KEYS = [
    "plain.jpg",
    "a//b",
    "../up",
    "/first",
    "folder/",
    "with space+plus%20percent?query#hash",
    'line\nbreak,and "quotes"',
    "bell\x07",
    "é" * 512,
    "k" * 1024,
]


def entries(path: Path | str, carried: Sequence[str] = ()) -> list[dict[str, Any]]:
    return [row for table in tables(path, carried) for row in table.to_pylist()]


def tables(path: Path | str, carried: Sequence[str] = ()) -> Iterator[pa.Table]:
    return own_entries(ManifestFiles(Settings()), str(path), kind_of(str(path)), carried)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as a manifest of the path's kind."""
    if path.suffix == ".parquet":
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
        pq.write_table(pa.table(columns), path)
    elif ".jsonl" in path.name:
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    else:
        lines = [",".join(rows[0]), *(",".join(map(quoted, row.values())) for row in rows)]
        body = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    return path


def quoted(value: object) -> str:
    if isinstance(value, (list, dict)):
        value = json.dumps(value)
    return "" if value is None else '"' + str(value).replace('"', '""') + '"'


ALL = ["m.parquet", "m.csv", "m.csv.gz", "m.jsonl", "m.jsonl.gz"]


@pytest.mark.parametrize("name", ALL)
def test_every_key_that_s3_can_hold_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    rows = [{"uri": f"s3://photos/{key}", "id": str(at)} for at, key in enumerate(ODD_KEYS)]
    found = entries(written(tmp_path / name, rows))
    assert [(row["bucket"], row["key"], row["id"]) for row in found] == [
        ("photos", key, str(at)) for at, key in enumerate(ODD_KEYS)
    ]


@pytest.mark.parametrize("name", ALL)
def test_all_columns_are_read_and_carried_ones_go_into_the_metadata(
    tmp_path: Path, name: str
) -> None:
    row = {
        "bucket": "photos",
        "key": "a.jpg",
        "version_id": "v1",
        "etag": '"abc"',
        "size": 12,
        "id": "i",
        "tenant": "acme",
        "label_sets": ["one", "two"],
        "truth": ["cat"],
        "metadata": {"album": 3},
        "camera": "x100",
    }
    (found,) = entries(written(tmp_path / name, [row]), carried=["camera"])
    assert json.loads(found.pop("metadata")) == {"album": 3, "camera": "x100"}
    assert found == {
        "bucket": "photos",
        "key": "a.jpg",
        "version_id": "v1",
        "etag": "abc",
        "size_bytes": 12,
        "id": "i",
        "tenant": "acme",
        "label_sets": ["one", "two"],
        "truth": ["cat"],
        "camera": found["camera"],
    }


def test_names_in_csv_may_have_semicolons_between_them(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("bucket,key,label_sets,truth\nphotos,a,one; two,[]\nphotos,b,,\n")
    assert [(row["label_sets"], row["truth"]) for row in entries(path)] == [
        (["one", "two"], []),
        (None, None),
    ]


def test_a_folder_of_manifests_is_read_file_by_file(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "_SUCCESS"):
        (tmp_path / name).write_text(f"bucket,key\nphotos,{name}\n")
    found = own_entries(ManifestFiles(Settings()), f"{tmp_path}/", InputKind.CSV, ())
    assert [table.column("key")[0].as_py() for table in found] == ["a.csv", "b.csv"]


GOOD: dict[str, Any] = {"bucket": "photos", "key": "a.jpg"}
LARGE = {"album": "x" * 5000}


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("m.csv", [GOOD | {"size": 1}, GOOD | {"size": "many"}], "row 2, column size: is 'many'"),
        ("m.csv", [GOOD | {"size": -1}], "row 1, column size"),
        ("m.csv", [GOOD, {"bucket": "photos", "key": ""}], "row 2, column key: is missing"),
        ("m.csv", [GOOD | {"key": "k" * 1025}], "row 1, column key: is not 1 to 1,024 bytes"),
        ("m.csv", [GOOD, GOOD | {"bucket": "No_Bucket"}], "row 2, column bucket: 'No_Bucket' is"),
        ("m.csv", [GOOD | {"etag": "a b"}], "row 1, column etag: is no ETag"),
        ("m.csv", [GOOD | {"version_id": "a\nb"}], "row 1, column version_id: is no version id"),
        ("m.csv", [GOOD | {"id": "bell\x07"}], "row 1, column id: holds a control character"),
        ("m.csv", [GOOD | {"metadata": "[1]"}], "row 1, column metadata: is no JSON object"),
        ("m.csv", [GOOD | {"metadata": "{"}], "row 1, column metadata: is not JSON"),
        ("m.csv", [GOOD | {"truth": "[1]"}], "row 1, column truth: is no list of names"),
        ("m.csv", [GOOD | {"metadata": LARGE}], "row 1, column metadata: metadata of 5,0"),
        ("m.csv", [GOOD | {"camera": "x"}], "column camera: is unknown; add --carry camera"),
        ("m.csv", [{"uri": "s3://photos/a"}, {"uri": "https://e.com/a"}], "row 2, column uri: is"),
        ("m.csv", [{"uri": "/tmp/a"}], "row 1, column uri: is '/tmp/a'; write s3://"),
        ("m.csv", [{"uri": "s3://photos"}], "row 1, column key: is not 1 to 1,024"),
        ("m.csv", [GOOD | {"uri": "s3://photos/a"}], "column uri: comes together with bucket"),
        ("m.csv", [{"key": "a"}], "has no column uri, nor bucket and key"),
        ("m.csv", [GOOD | {"offset": 1, "length": 2}], "column length: asks for a part of an"),
        ("m.csv", [GOOD | {"size": 1, "size_bytes": 1}], "comes together with size_bytes"),
        ("m.jsonl", [GOOD, GOOD | {"size": "1"}], "row 2, column size: is a string; write a who"),
        ("m.jsonl", [GOOD | {"size": 1.5}], "row 1, column size"),
        ("m.jsonl", [GOOD | {"size": 2**63}], "column size: holds a number beyond 64 bits"),
        ("m.jsonl", [GOOD, GOOD | {"key": 7}], "row 2, column key: is a number; write a string"),
        ("m.jsonl", [GOOD | {"label_sets": "one"}], "row 1, column label_sets: is a string"),
        ("m.jsonl", [GOOD | {"label_sets": [1]}], "row 1, column label_sets: holds something"),
        ("m.jsonl", [GOOD | {"metadata": "x"}], "row 1, column metadata: is a string"),
        ("m.jsonl", [GOOD | {"camera": "x"}], "column camera: is unknown"),
        ("m.jsonl", [GOOD, GOOD | {"bucket": None}], "row 2, column bucket: is missing"),
        ("m.parquet", [GOOD | {"size": 1.5}], "column size: holds double; write whole"),
        ("m.parquet", [GOOD | {"key": 7}], "column key: holds int64; write text"),
        ("m.parquet", [GOOD, GOOD | {"size": -7}], "row 2, column size: is -7; write a size"),
        ("m.parquet", [GOOD | {"label_sets": [1]}], "column label_sets: holds list"),
        ("m.parquet", [GOOD, GOOD | {"label_sets": [None, "a"]}], "row 2, column label_sets"),
        ("m.parquet", [GOOD | {"key": b"a"}, GOOD | {"key": b"\xff"}], "row 2, column key: is not"),
    ],
)
def test_a_wrong_value_is_named_by_file_and_row(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], said: str
) -> None:
    path = written(tmp_path / name, rows)
    with pytest.raises(Halt) as halt:
        entries(path)
    assert halt.value.code == "backfill.manifest_invalid"
    assert halt.value.message.startswith(str(path))
    assert said in halt.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"bucket,key\nphotos,a\nphotos\n", "row 2 has 1 values for 2 columns"),
        (b"bucket,key\nphotos,a\nphotos,\xff\n", "row 2, column key: is not UTF-8"),
        (b"photos,a\nphotos,b\n", "--input-kind batch-operations"),
        (b"bucket,key,key\nphotos,a,b\n", "column key: stands there twice"),
    ],
)
def test_csv_that_is_none_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text)
    with pytest.raises(Halt, match="backfill") as halt:
        entries(path)
    assert said in halt.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "row 2: the value is not JSON"),
        (b"[]", "row 2: is a list; write an object"),
        (b"", "row 2: is empty"),
        (b'{"bucket":"photos","key":"a","key":"b"}', "row 2"),
        (b'{"bucket":"photos","key":"' + b"a" * 2**20 + b'"}', "row 2: is longer than"),
    ],
)
def test_lines_that_are_no_objects_are_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"bucket":"photos","key":"a"}\n' + line + b"\n")
    with pytest.raises(Halt) as halt:
        entries(path)
    assert said in halt.value.message


@pytest.mark.parametrize("name", ["m.parquet", "m.csv.gz", "m.jsonl.gz"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, [GOOD | {"id": str(number)} for number in range(5000)])
    body = path.read_bytes()
    path.write_bytes(body[: len(body) // 2])
    with pytest.raises(Halt) as halt:
        entries(path)
    assert halt.value.code == "backfill.manifest_damaged"


def test_carried_values_must_be_of_one_kind(tmp_path: Path) -> None:
    rows = [GOOD | {"camera": "x"}, GOOD | {"camera": 1}]
    with pytest.raises(Halt, match="carry strings, numbers or booleans"):
        entries(written(tmp_path / "m.jsonl", rows), carried=["camera"])


def test_a_carried_column_never_replaces_metadata(tmp_path: Path) -> None:
    row = GOOD | {"metadata": {"camera": "y"}, "camera": "x"}
    with pytest.raises(Halt, match="stands in the metadata too"):
        entries(written(tmp_path / "m.jsonl", [row]), carried=["camera"])


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("s3://photos/2024/", InputKind.LISTING),
        ("s3://photos", InputKind.LISTING),
        ("s3://inv/photos/daily/2026-11-27T01-00Z/manifest.json", InputKind.INVENTORY),
        ("m.Parquet", InputKind.PARQUET),
        ("s3://b/m.csv.gz", InputKind.CSV),
        ("m.ndjson", InputKind.JSONL),
    ],
)
def test_a_plain_name_tells_the_kind(source: str, kind: InputKind) -> None:
    assert kind_of(source) is kind


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://example.com/list.csv", "img2dataset"),
        ("s3://b/0001.tar", "unpack the tars"),
        ("s3://b/list.json", "--input-kind"),
        ("photos/", "--input-kind"),
    ],
)
def test_other_sources_are_refused_with_what_helps(source: str, said: str) -> None:
    with pytest.raises(Halt, match="backfill") as halt:
        kind_of(source)
    assert said in halt.value.message
