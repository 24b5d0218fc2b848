"""The tables of known pictures find what a comparison with every entry finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.known.cosines import CosineTable
from pipeline.known.digests import DigestTable
from pipeline.known.hamming import BITS, MOST_DISTANCE, HammingTable

Bytes = npt.NDArray[np.uint8]

hashes = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.just(32)),
    elements=st.sampled_from([0, 1, 0x80, 0xFF]),
)
"""Few values, so that entries share bands and hashes repeat."""


def turned(hash_: Bytes, bits: set[int]) -> bytes:
    """The hash with these bits turned."""
    unpacked = np.unpackbits(hash_)
    unpacked[list(bits)] ^= 1
    return np.packbits(unpacked).tobytes()


def distances(table: Bytes, query: bytes) -> npt.NDArray[np.intp]:
    bits = np.unpackbits(table ^ np.frombuffer(query, np.uint8), axis=1)
    counts: npt.NDArray[np.intp] = bits.sum(axis=1, dtype=np.intp)
    return counts


@settings(max_examples=50)
@given(hashes, st.data())
def test_the_nearest_hash_is_the_one_that_brute_force_finds(
    table: Bytes, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(table) - 1))
    bits = data.draw(st.sets(st.integers(0, BITS - 1), max_size=40))
    most = data.draw(st.integers(0, MOST_DISTANCE))
    query = turned(table[row], bits)
    expected = distances(table, query)
    found = HammingTable(table).nearest(query, most)
    if expected.min() > most:
        assert found is None
    else:
        assert found == (int(expected.argmin()), int(expected.min()))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, BITS - 1), min_size=31, max_size=31))
def test_no_way_to_spread_the_largest_distance_hides_a_hash(seed: int, bits: set[int]) -> None:
    table = np.random.default_rng(seed).integers(0, 256, (20, 32), np.uint8)
    assert HammingTable(table).nearest(turned(table[7], bits), MOST_DISTANCE) == (7, MOST_DISTANCE)


@settings(max_examples=50)
@given(hashes, st.data())
def test_a_digest_is_found_where_it_is_first_and_nowhere_else(
    table: Bytes, data: st.DataObject
) -> None:
    digests = DigestTable(table)
    row = data.draw(st.integers(0, len(table) - 1))
    first = min(np.flatnonzero((table == table[row]).all(axis=1)))
    assert digests.find(table[row].tobytes()) == first
    other = turned(table[row], {data.draw(st.integers(0, BITS - 1))})
    same = np.flatnonzero(distances(table, other) == 0)
    assert digests.find(other) == (same[0] if len(same) else None)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    entries=st.integers(1, 60),
    dimension=st.sampled_from([3, 40, 64]),
    spread=st.sampled_from([0.01, 0.1, 1.0]),
    least=st.sampled_from([0.3, 0.8, 0.95, 0.999, 1.0]),
    dtype=st.sampled_from([np.float32, np.float16]),
)
def test_the_nearest_embedding_is_the_one_that_brute_force_finds(
    seed: int,
    entries: int,
    dimension: int,
    spread: float,
    least: float,
    dtype: type[np.float32] | type[np.float16],
) -> None:
    random = np.random.default_rng(seed)
    centre = random.normal(size=dimension)
    vectors = (centre + spread * random.normal(size=(entries, dimension))).astype(np.float32)
    query = vectors[0] + 0.3 * spread * random.normal(size=dimension)
    query = (query / np.linalg.norm(query)).astype(dtype)
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    cosines = wide.astype(np.float32).astype(np.float64) @ query.astype(np.float64)
    found = CosineTable(vectors).nearest(query, least)
    if cosines.max() < least:
        assert found is None
    else:
        assert found is not None
        assert found[0] == cosines.argmax()
        assert abs(found[1] - min(cosines.max(), 1.0)) < 1e-12
