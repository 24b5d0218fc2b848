"""How fast a prefix is listed: against one request at a time, and in CPU a key.

A stub in a process of its own answers each page after 100 ms. A real S3 server lists as many keys
as are put there first.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.folder import S3Folder
from pipeline.adapters.s3.listing import S3Listing
from pipeline.adapters.s3.policy import S3Policy
from tests.benchmarks.figures import Figure
from tests.rigs.services.listing_server import ComputedKeys, ListingServer
from tests.rigs.services.scripted_s3 import credentials, policy

DELAY_S = 0.1
REQUESTS = 16
LEAST_RATIO = 8.0
MOST_CPU_US = 40.0
STUB_KEYS = 1_000_000
REAL_KEYS = 100_000
FIRST_PAGES = 50
"""Pages from which the rate of one request at a time is taken."""

WRITERS = 16

Named = Callable[[int, int], str]

SHAPES: dict[str, Named] = {
    "numbered": lambda at, count: f"photos/IMG_{at:08}.jpg",
    "hashes": lambda at, count: f"photos/{at * (2**128 // count):032x}.jpg",
    "by_day": lambda at, count: (
        f"photos/{2000 + at * 20 // count}/{1 + at * 240 // count % 12:02}/{at:08}.jpg"
    ),
}
"""The first two are flat; the last one has a folder for each month of twenty years."""


@dataclass(frozen=True, slots=True)
class Listed:
    """``ratio`` is to the rate of one request at a time, ``cpu_us`` is of this process a key."""

    seconds: float
    ratio: float
    cpu_us: float


def measure(tell: Callable[[str], None], stub_keys: int = STUB_KEYS) -> list[Figure]:
    """
    Raises:
        SystemExit: a listing lost or doubled a key.
    """
    figures = []
    for shape in SHAPES:
        found = of_stub(shape, stub_keys)
        tell(f"listing, {shape}: {stub_keys:,} keys in {found.seconds:.1f} s")
        name = f"backfill.listing.{shape}"
        figures += [
            Figure(f"{name}.of_one", found.ratio, "times", LEAST_RATIO),
            Figure(f"{name}.cpu", found.cpu_us, "us/key", MOST_CPU_US, at_least=False),
        ]
    for shape in ("numbered", "by_day"):
        found = of_server(shape, REAL_KEYS)
        tell(f"listing, {shape}, real server: {REAL_KEYS:,} keys in {found.seconds:.1f} s")
        name = f"backfill.listing.{shape}.server"
        figures += [
            Figure(f"{name}.of_one", found.ratio, "times"),
            Figure(f"{name}.cpu", found.cpu_us, "us/key", MOST_CPU_US, at_least=False),
        ]
    return figures


def of_stub(shape: str, count: int) -> Listed:
    mine, theirs = multiprocessing.Pipe()
    stub = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, shape, count))
    stub.start()
    try:
        with credentials():
            return listed(shape, policy(mine.recv()), "images", count)
    finally:
        stub.terminate()
        stub.join()


def of_server(shape: str, count: int) -> Listed:
    """On a server that holds the keys, and nothing else."""
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-listing-") as folder,
        VersityS3(Path(folder) / "s3") as s3,
        mock.patch.dict(
            os.environ, AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key
        ),
    ):
        store = S3Policy(endpoint=s3.endpoint, region=s3.region, allowed_buckets=("images",))
        with closing(S3Admin(store)) as admin:
            admin.create_bucket("images")
        named = SHAPES[shape]
        with (
            closing(S3Folder(store, "images", "")) as images,
            ThreadPoolExecutor(WRITERS) as threads,
        ):
            for _ in threads.map(lambda at: images.write(named(at, count), b"x"), range(count)):
                pass
        return listed(shape, store, "images", count, distinct_etags=False)


def listed(
    shape: str, store: S3Policy, bucket: str, count: int, *, distinct_etags: bool = True
) -> Listed:
    alone = rate_alone(store, bucket)
    with closing(S3Listing(store, REQUESTS)) as listing:
        began, cpu = time.perf_counter(), time.process_time()
        names: set[str | None] = set()
        keys = 0
        for page in listing.pages(bucket, "photos/"):
            keys += len(page.keys)
            # Keys that are computed have ETags that are smaller to hold.
            names.update(page.etags if distinct_etags else page.keys)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    if keys != count or len(names) != count:
        raise SystemExit(f"{shape}: {keys:,} keys, {len(names):,} different, of {count:,}")
    return Listed(took, keys / took / alone, cpu / keys * 1e6)


def rate_alone(store: S3Policy, bucket: str) -> float:
    """Keys a second with one request at a time."""
    with (
        closing(S3Listing(store, 1)) as listing,
        closing(listing.pages(bucket, "photos/")) as pages,
    ):
        began, keys = time.perf_counter(), 0
        for _, page in zip(range(FIRST_PAGES), pages, strict=False):
            keys += len(page.keys)
        return keys / (time.perf_counter() - began)


def serve(pipe: Connection, shape: str, count: int) -> None:
    """The stub's process."""
    named = SHAPES[shape]
    server = ListingServer(ComputedKeys(count, lambda at: named(at, count)), delay_s=DELAY_S)
    pipe.send(server.endpoint)
    pipe.recv()
    server.close()
