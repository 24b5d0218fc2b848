"""CPU time of comparing an image with lists of known pictures: ``-m tests.benchmarks.known``.

The ratio of sizes is measured in one run: a table of a million entries beside one of a thousand.
Prints JSON.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.known.cosines import CosineTable
from pipeline.known.digests import DigestTable
from pipeline.known.hamming import MOST_DISTANCE, HammingTable

Query = TypeVar("Query")

MILLION = 1_000_000
QUERIES = 300
DIMENSION = 512
LEAST_COSINE = 0.95
CONE = 0.5
"""Cosine between the embeddings of two unlike pictures: CLIP's lie in a cone."""


def cpu_ms(find: Callable[[Query], object], queries: Sequence[Query]) -> float:
    """CPU time of a query, the mean of many."""
    find(queries[0])
    started = time.process_time()
    for query in queries:
        find(query)
    return (time.process_time() - started) / len(queries) * 1e3


def hashes(random: np.random.Generator, entries: int) -> npt.NDArray[np.uint8]:
    return random.integers(0, 256, (entries, 32), np.uint8)


def embeddings(random: np.random.Generator, entries: int) -> npt.NDArray[np.float32]:
    """Unit vectors in a cone, with variances that fall as those of CLIP's principal axes do."""
    scales = 1 / np.sqrt(1 + np.arange(DIMENSION))
    vectors = random.normal(size=(entries, DIMENSION)) * scales
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= np.sqrt(1 - CONE)
    vectors[:, -1] += np.sqrt(CONE)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return unit


def measured() -> dict[str, float]:
    random = np.random.default_rng(1)
    found: dict[str, float] = {}
    queries = hashes(random, QUERIES)
    bodies = [query.tobytes() for query in queries]
    for entries in (1_000, MILLION):
        table = hashes(random, entries)
        table[: QUERIES // 2] = queries[: QUERIES // 2]  # half of the queries are in the list
        found[f"sha256, {entries:,} entries"] = cpu_ms(DigestTable(table).find, bodies)
        nearest = partial(HammingTable(table).nearest, most=MOST_DISTANCE)
        found[f"pdq, {entries:,} entries"] = cpu_ms(nearest, bodies)
    for entries in (1_000, 10_000, 100_000):
        vectors = embeddings(random, entries + QUERIES)
        near = partial(CosineTable(vectors[:entries]).nearest, least=LEAST_COSINE)
        found[f"embedding, {entries:,} entries"] = cpu_ms(near, list(vectors[entries:]))
    return found


def main() -> None:
    print(
        json.dumps(
            {
                "machine": platform.machine(),
                "numpy": np.__version__,
                "cpu_ms_an_image": {name: round(ms, 4) for name, ms in measured().items()},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
