"""What it takes to plan a job: CPU a row and memory, from an S3 Inventory in Parquet on a real S3
server, with ``--since``, and with ``--dedupe`` beside the same plan without it.

::

    python -m tests.benchmarks.backfill.planning --rows 100000000 --since-rows 10000000
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.manifests.kinds import Dedupe
from pipeline.adapters.s3.admin import S3Admin
from tests.benchmarks.backfill import planning_process
from tests.benchmarks.figures import Figure, show
from tests.rigs.root import ROOT
from workers.embedded.processes import command_environment
from workers.settings.loading import load_settings

ROWS = 10_000_000
SINCE_ROWS = 2_000_000
DEDUPE_ROWS = 2_000_000
FILE_ROWS = 1_000_000
CHANGED_SHARE = 0.01
COPIED_SHARE = 0.3
MOST_MIB = 1024
MOST_SINCE_MIB = 2048
PHOTOS, LISTS, DERIVED = "photos", "lists", "derived"
LABEL_SET = ROOT / "deploy/examples/label-sets/general-objects.yaml"

Texts = npt.NDArray[np.uint8]
"""[rows, characters]"""


def measure(
    tell: Callable[[str], None],
    rows: int = ROWS,
    since_rows: int = SINCE_ROWS,
    dedupe_rows: int = DEDUPE_ROWS,
) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-planning-") as name,
        VersityS3(Path(name) / "s3") as s3,
        mock.patch.dict(
            os.environ, AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key
        ),
    ):
        file = Path(name) / "settings.yaml"
        store = {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [PHOTOS]}
        file.write_text(yaml.safe_dump({"s3": store, "label_sets": {"paths": [str(LABEL_SET)]}}))
        with contextlib.closing(S3Admin(load_settings(file, environment={}).s3)) as admin:
            for bucket in (PHOTOS, LISTS, DERIVED):
                admin.create_bucket(bucket)
            put_inventory(admin, "all", rows)
            whole = planned(file, "all", "all")
            tell(f"planning: {rows:,} rows in {whole.seconds:.0f} s")
            put_inventory(admin, "before", since_rows)
            put_inventory(admin, "after", since_rows, changed=CHANGED_SHARE)
            put_inventory(admin, "copies", dedupe_rows, copied=COPIED_SHARE)
        planned(file, "before", "before")
        since = planned(file, "after", "after", "--since", f"s3://{DERIVED}/before")
        tell(f"planning since: {since_rows:,} rows in {since.seconds:.0f} s, {since.rows:,} new")
        plain = planned(file, "copies", "plain")
        dedupe = planned(file, "copies", "dedupe", "--dedupe", Dedupe.ETAG_AND_SIZE)
        tell(f"dedupe: {dedupe_rows:,} rows in {dedupe.seconds:.0f} s, {dedupe.copies:,} copies")
    if (whole.rows, since.rows) != (rows, changed_rows(since_rows, CHANGED_SHARE)):
        raise SystemExit(f"{whole.rows:,} and {since.rows:,} rows were planned")
    copies, split = changed_rows(dedupe_rows, COPIED_SHARE), dedupe.shards
    if dedupe.rows != plain.rows or not copies - split < dedupe.copies <= copies:
        raise SystemExit(f"{dedupe.rows:,} rows with {dedupe.copies:,} copies were planned")
    return [
        Figure("backfill.planning.cpu", 1e6 * whole.cpu_s / rows, "us/row"),
        Figure("backfill.planning.memory", whole.memory_mib, "MiB", MOST_MIB, at_least=False),
        Figure("backfill.since.cpu", 1e6 * since.cpu_s / since_rows, "us/row"),
        Figure("backfill.since.memory", since.memory_mib, "MiB", MOST_SINCE_MIB, at_least=False),
        Figure("backfill.dedupe.cpu", 1e6 * dedupe.cpu_s / dedupe_rows, "us/row"),
        Figure("backfill.dedupe.beside_plain", dedupe.cpu_s / plain.cpu_s, "times"),
        Figure("backfill.dedupe.memory", dedupe.memory_mib, "MiB", MOST_MIB, at_least=False),
    ]


def planned(settings: Path, inventory: str, output: str, *options: str) -> planning_process.Planned:
    """A plan by a process of its own."""
    command = [sys.executable, "-m", planning_process.__name__, str(settings)]
    command += [f"s3://{LISTS}/{inventory}/manifest.json", f"s3://{DERIVED}/{output}", *options]
    done = subprocess.run(
        command, env=command_environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    return planning_process.Planned(**json.loads(done.stdout))


def put_inventory(
    admin: S3Admin, name: str, rows: int, *, changed: float = 0.0, copied: float = 0.0
) -> None:
    """An inventory of so many objects. A share of them has another ETag than without it, and a
    share has the content of others."""
    listed = []
    for number, body in enumerate(inventory_files(rows, changed, copied)):
        key = f"{name}/data/{number:05}.parquet"
        admin.put(LISTS, key, body)
        listed.append({"key": key, "size": len(body), "MD5checksum": _md5(body)})
    manifest = {
        "destinationBucket": f"arn:aws:s3:::{LISTS}",
        "fileFormat": "Parquet",
        "fileSchema": "message s3.inventory { }",
        "files": listed,
    }
    body = json.dumps(manifest).encode()
    admin.put(LISTS, f"{name}/manifest.json", body)
    admin.put(LISTS, f"{name}/manifest.checksum", _md5(body).encode())


def inventory_files(rows: int, changed: float, copied: float) -> Iterator[bytes]:
    for first in range(0, rows, FILE_ROWS):
        numbers = np.arange(first, min(first + FILE_ROWS, rows))
        count = len(numbers)
        random = np.random.default_rng(first)
        etags = random.integers(0, 16, (count, 32), np.uint8)
        etags[: changed_rows(count, changed), 0] ^= 1
        sizes = random.integers(20_000, 5_000_000, count)
        if copies := changed_rows(count, copied):
            etags[-copies:], sizes[-copies:] = etags[:copies], sizes[:copies]
        table = pa.table(
            {
                "bucket": pa.repeat(pa.scalar(PHOTOS), count),
                "key": texts(_keys(numbers)),
                "size": pa.array(sizes),
                "e_tag": texts(np.frombuffer(b"0123456789abcdef", np.uint8)[etags]),
            }
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer, use_dictionary=["bucket"])
        yield buffer.getvalue()


def changed_rows(rows: int, share: float) -> int:
    return round(rows * share)


def _keys(numbers: npt.NDArray[np.int64]) -> Texts:
    """``2024/000000000.jpg`` and so on."""
    digits = numbers[:, None] // 10 ** np.arange(8, -1, -1) % 10 + ord("0")
    head, tail = (
        np.broadcast_to(np.frombuffer(part, np.uint8), (len(numbers), len(part)))
        for part in (b"2024/", b".jpg")
    )
    return np.concatenate([head, digits.astype(np.uint8), tail], axis=1)


def texts(characters: Texts) -> pa.Array:
    """Each row of characters as a text."""
    count, length = characters.shape
    ends = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(characters))
    )


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="planning")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--since-rows", type=int, default=SINCE_ROWS)
    parser.add_argument("--dedupe-rows", type=int, default=DEDUPE_ROWS)
    arguments = parser.parse_args()
    console = Console(markup=False)
    figures = measure(console.print, arguments.rows, arguments.since_rows, arguments.dedupe_rows)
    show(figures, "Planning", console)
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
