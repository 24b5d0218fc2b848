"""How fast a prefix is listed: against one request at a time, and in CPU a key.

::

    python -m tests.benchmarks.listing

A stub in a process of its own answers each page after 100 ms. Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection

from pipeline.adapters.s3.listing import S3Listing
from tests.rigs.services.listing_server import ComputedKeys, ListingServer
from tests.rigs.services.scripted_s3 import credentials, policy

DELAY_S = 0.1
REQUESTS = 16
LEAST_RATIO = 8.0
MOST_CPU_US = 40.0
FIRST_PAGES = 50
"""Pages from which the rate of one request at a time is taken."""

Named = Callable[[int, int], str]

SHAPES: dict[str, Named] = {
    "numbered, flat": lambda at, count: f"photos/IMG_{at:08}.jpg",
    "hashes, flat": lambda at, count: f"photos/{at * (2**128 // count):032x}.jpg",
    "folders by day": lambda at, count: (
        f"photos/{2000 + at * 20 // count}/{1 + at * 240 // count % 12:02}/{at:08}.jpg"
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    count = parser.parse_args().keys
    missed = False
    for shape in SHAPES:
        ratio, cpu_us = measure(shape, count)
        missed |= ratio < LEAST_RATIO or cpu_us > MOST_CPU_US
    return int(missed)


def measure(shape: str, count: int) -> tuple[float, float]:
    """The ratio to one request at a time, and microseconds of CPU a key."""
    mine, theirs = multiprocessing.Pipe()
    stub = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, shape, count))
    stub.start()
    try:
        with credentials():
            endpoint = mine.recv()
            alone = rate_alone(endpoint)
            with closing(S3Listing(policy(endpoint), REQUESTS)) as listing:
                began, cpu = time.perf_counter(), time.process_time()
                etags: set[str | None] = set()
                keys = 0
                pages = listing.pages("images", "photos/")
                for page in pages:
                    keys += len(page.keys)
                    etags.update(page.etags)
                took, cpu = time.perf_counter() - began, time.process_time() - cpu
        if keys != count or len(etags) != count:
            raise SystemExit(f"{shape}: {keys:,} keys, {len(etags):,} different, of {count:,}")
        mine.send(None)
        asked = mine.recv()
        ratio, cpu_us = keys / took / alone, cpu / keys * 1e6
        print(
            f"{shape}: {keys:,} keys in {took:.1f} s and {asked:,} requests, {ratio:.1f} times one "
            f"request at a time, {cpu_us:.1f} us of CPU a key",
            flush=True,
        )
        return ratio, cpu_us
    finally:
        stub.terminate()
        stub.join()


def rate_alone(endpoint: str) -> float:
    """Keys a second with one request at a time."""
    with closing(S3Listing(policy(endpoint), 1)) as listing:
        pages = listing.pages("images", "photos/")
        with closing(pages):
            began, keys = time.perf_counter(), 0
            for _ in range(FIRST_PAGES):
                keys += len(next(pages).keys)
            return keys / (time.perf_counter() - began)


def serve(pipe: Connection, shape: str, count: int) -> None:
    named = SHAPES[shape]
    server = ListingServer(ComputedKeys(count, lambda at: named(at, count)), delay_s=DELAY_S)
    pipe.send(server.endpoint)
    pipe.recv()
    pipe.send(len(server.requests) - FIRST_PAGES)
    server.close()


if __name__ == "__main__":
    sys.exit(main())
