"""S3 Inventory and S3 Batch Operations: read as S3 writes them, and not a byte that was changed."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from pipeline.adapters.manifests.inventory import batch_operations_entries, inventory_entries
from pipeline.errors import Halt
from workers.backfill.planning_files import ManifestFiles
from workers.settings.loading import Settings

KEYS = ["a b+c.jpg", "100%25.jpg", "a//b", "line\nbreak", "é" * 512, "k" * 1024, "bell\x07", "x/"]
CSV_COLUMNS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
ROWS: list[dict[str, Any]] = [
    {
        "bucket": "photos",
        "key": key,
        "version_id": f"v{number}",
        "is_latest": number != 1,
        "is_delete_marker": number == 2,
        "size": None if number == 2 else number,
        "last_modified_date": datetime(2026, 11, 1 + number),  # noqa: DTZ001 - as ORC has it
        "e_tag": None if number == 2 else f"e{number}",
    }
    for number, key in enumerate(KEYS)
]
TYPES = pa.schema(
    [
        ("bucket", pa.string()),
        ("key", pa.string()),
        ("version_id", pa.string()),
        ("is_latest", pa.bool_()),
        ("is_delete_marker", pa.bool_()),
        ("size", pa.int64()),
        ("last_modified_date", pa.timestamp("ms")),
        ("e_tag", pa.string()),
    ]
)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = []
    for row in rows:
        texts = [
            row["bucket"],
            quote_plus(row["key"]),
            row["version_id"],
            str(row["is_latest"]).lower(),
            str(row["is_delete_marker"]).lower(),
            "" if row["size"] is None else str(row["size"]),
            row["last_modified_date"].isoformat() + ".000Z",
            row["e_tag"] or "",
        ]
        lines.append(",".join(f'"{text}"' for text in texts))
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


def as_table(write: Callable[[pa.Table, pa.BufferOutputStream], object]) -> bytes:
    buffer = pa.BufferOutputStream()
    write(pa.Table.from_pylist(ROWS, TYPES), buffer)
    body: bytes = buffer.getvalue().to_pybytes()
    return body


FILES = {
    "CSV": (CSV_COLUMNS, as_csv(ROWS)),
    "Parquet": ("message s3.inventory { … }", as_table(pq.write_table)),
    "ORC": ("struct<bucket:string,key:string,…>", as_table(orc.write_table)),
}


def inventory(folder: Path, form: str = "CSV", body: bytes | None = None) -> Path:
    """An inventory as S3 lays it out. ``body`` is that of its only file."""
    columns, good = FILES[form]
    name = f"part.{form.lower()}{'.gz' if form == 'CSV' else ''}"
    data = folder / "photos/daily/data" / name
    data.parent.mkdir(parents=True)
    data.write_bytes(good if body is None else body)
    written = {
        "sourceBucket": "photos",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1795000000000",
        "fileFormat": form,
        "fileSchema": columns,
        "files": [
            {
                "key": f"photos/daily/data/{name}",
                "size": data.stat().st_size,
                "MD5checksum": md5(data.read_bytes()),
            }
        ],
    }
    manifest = folder / "photos/daily/2026-11-27T01-00Z/manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps(written))
    (manifest.parent / "manifest.checksum").write_text(md5(manifest.read_bytes()) + "\n")
    return manifest


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def entries(manifest: Path, *, every_column: bool = False) -> list[dict[str, Any]]:
    files = ManifestFiles(Settings())
    found = inventory_entries(files, str(manifest), every_column=every_column)
    return [row for table in found for row in table.to_pylist()]


@pytest.mark.parametrize("form", FILES)
def test_an_inventory_names_its_objects_exactly(tmp_path: Path, form: str) -> None:
    found = entries(inventory(tmp_path, form))
    names = ("bucket", "key", "version_id", "etag", "size_bytes", "is_latest", "is_delete_marker")
    assert [tuple(row[name] for name in names) for row in found] == [
        (
            row["bucket"],
            row["key"],
            row["version_id"],
            row["e_tag"],
            row["size"],
            row["is_latest"],
            row["is_delete_marker"],
        )
        for row in ROWS
    ]
    assert "last_modified_date" not in found[0]


@pytest.mark.parametrize("form", FILES)
def test_further_columns_are_there_for_a_condition(tmp_path: Path, form: str) -> None:
    found = entries(inventory(tmp_path, form), every_column=True)
    assert str(found[3]["last_modified_date"]).startswith("2026-11-04")


def test_an_inventory_of_bucket_and_key_alone_is_read(tmp_path: Path) -> None:
    body = gzip.compress(b'"photos","a%2Bb+c"\n')
    manifest = inventory(tmp_path, body=body)
    rewrite(manifest, lambda text: text.replace(CSV_COLUMNS, "Bucket, Key"))
    (row,) = entries(manifest)
    assert (row["key"], row["version_id"], row["size_bytes"]) == ("a+b c", None, None)


def rewrite(manifest: Path, change: Callable[[str], str]) -> None:
    manifest.write_text(change(manifest.read_text()))
    (manifest.parent / "manifest.checksum").write_text(md5(manifest.read_bytes()))


def data_of(manifest: Path) -> Path:
    (found,) = (manifest.parent.parent / "data").iterdir()
    return found


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-1],
        lambda body: body + b"\n",
        lambda body: bytes([body[0] ^ 1]) + body[1:],
    ],
    ids=["cut off", "longer", "changed"],
)
def test_a_file_that_was_changed_is_not_read(
    tmp_path: Path, form: str, change: Callable[[bytes], bytes]
) -> None:
    manifest = inventory(tmp_path, form)
    data = data_of(manifest)
    data.write_bytes(change(data.read_bytes()))
    with pytest.raises(Halt) as halt:
        entries(manifest)
    assert halt.value.code == "backfill.manifest_damaged"
    assert data.name in halt.value.message


def test_a_manifest_that_was_changed_is_not_read(tmp_path: Path) -> None:
    manifest = inventory(tmp_path)
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(Halt, match=r"is not what manifest\.checksum was made of"):
        entries(manifest)


def test_an_inventory_that_is_not_complete_yet_is_not_read(tmp_path: Path) -> None:
    manifest = inventory(tmp_path)
    (manifest.parent / "manifest.checksum").unlink()
    with pytest.raises(Halt, match=r"manifest\.checksum: is missing"):
        entries(manifest)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    manifest = inventory(tmp_path)
    data_of(manifest).unlink()
    with pytest.raises(Halt, match=r"part\.csv\.gz: cannot be read"):
        entries(manifest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"fileFormat"', '"format"'), "is no manifest of S3 Inventory"),
        (lambda text: text.replace('"CSV"', '"AVRO"'), "unknown format 'AVRO'"),
        (lambda text: text.replace("Bucket, Key", "Bucket, Name"), "no columns bucket and key"),
        (lambda text: "{", "is no manifest of S3 Inventory"),
    ],
)
def test_a_manifest_of_another_program_is_refused(
    tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    manifest = inventory(tmp_path)
    rewrite(manifest, change)
    with pytest.raises(Halt) as halt:
        entries(manifest)
    assert halt.value.code == "backfill.manifest_damaged"
    assert said in halt.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"photos","%FF","v","true","false","1","","e"', "row 2, column key: is not UTF-8"),
        ('"photos","a","v","maybe","false","1","","e"', "row 2, column is_latest: is 'maybe'"),
        ('"photos","a","v","true","false","1.5","","e"', "row 2, column size_bytes: is '1.5'"),
        ('"photos","","v","true","false","1","","e"', "row 2, column key: is missing"),
        ('"photos","a"', "row 2 has 2 values for 8 columns"),
    ],
)
def test_a_wrong_value_is_named_by_file_and_row(tmp_path: Path, line: str, said: str) -> None:
    good = '"photos","a","v","true","false","1","","e"'
    manifest = inventory(tmp_path, body=gzip.compress(f"{good}\n{line}\n".encode()))
    with pytest.raises(Halt) as halt:
        entries(manifest)
    assert f"{data_of(manifest)}" in halt.value.message
    assert said in halt.value.message


def test_batch_operations_name_objects_and_versions(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("photos,a+b%2F1.jpg,v1\nphotos,c.jpg,\n")
    (table,) = batch_operations_entries(ManifestFiles(Settings()), str(path))
    assert [(row["key"], row["version_id"]) for row in table.to_pylist()] == [
        ("a b/1.jpg", "v1"),
        ("c.jpg", None),
    ]


def test_batch_operations_may_have_no_versions(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("photos,a.jpg\n")
    (table,) = batch_operations_entries(ManifestFiles(Settings()), str(path))
    assert table.column("key").to_pylist() == ["a.jpg"]


def test_another_number_of_columns_is_no_batch_operation(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("photos\n")
    with pytest.raises(Halt, match="has 1 columns"):
        list(batch_operations_entries(ManifestFiles(Settings()), str(path)))
