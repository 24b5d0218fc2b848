"""Whatever a key holds, every kind of manifest names exactly this key."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.manifests.inventory import batch_operations_entries
from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.manifests.own import own_entries
from workers.backfill.planning_files import ManifestFiles
from workers.settings.loading import Settings

FILES = ManifestFiles(Settings())
keys = st.lists(
    st.text(min_size=1, max_size=255).filter(lambda key: not any(map(is_surrogate, key))),
    min_size=1,
    max_size=8,
)


def is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def as_csv(keys: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("bucket", "key"), *(("photos", key) for key in keys)])
    return text.getvalue().encode()


def as_lines(keys: list[str]) -> bytes:
    return "".join(json.dumps({"uri": f"s3://photos/{key}"}) + "\n" for key in keys).encode()


def as_parquet(keys: list[str]) -> bytes:
    body = io.BytesIO()
    pq.write_table(pa.table({"bucket": ["photos"] * len(keys), "key": keys}), body)
    return body.getvalue()


def as_batch_operations(keys: list[str]) -> bytes:
    return "".join(f"photos,{quote_plus(key)}\n" for key in keys).encode()


def own(kind: InputKind) -> Callable[[str], Iterator[pa.Table]]:
    return lambda path: own_entries(FILES, path, kind, ())


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (as_csv, own(InputKind.CSV)),
        (as_lines, own(InputKind.JSONL)),
        (as_parquet, own(InputKind.PARQUET)),
        (as_batch_operations, lambda path: batch_operations_entries(FILES, path)),
    ],
    ids=["csv", "jsonl", "parquet", "batch operations"],
)
@settings(max_examples=60)
@given(keys=keys)
def test_every_key_comes_back_as_it_was(
    write: Callable[[list[str]], bytes],
    read: Callable[[str], Iterator[pa.Table]],
    keys: list[str],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest"
        path.write_bytes(write(keys))
        found = [key for table in read(str(path)) for key in table.column("key").to_pylist()]
    assert found == keys
