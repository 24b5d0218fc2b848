"""Nearly equal hashes of 256 bits, found by multi-index hashing.

A hash is cut into 16 bands of 16 bits. Two hashes that differ in at most 31 bits differ in at most
1 bit of at least one band: if each of the 16 bands differed in 2 bits or more, at least 32 would
differ. So every hash within reach has a band that is one of 17 values: the query's, or the query's
with one bit turned. A table for each band says which entries have a value. Of a million entries
with bits like coin tosses, 16 * 17 values hold about 4,150, which are then compared in full.

Norouzi, Punjani and Fleet 2012, https://arxiv.org/abs/1307.2982.
"""

from __future__ import annotations

import numpy as np

from pipeline.known.digests import Digests

BITS = 256
MOST_DISTANCE = 31
"""Largest distance that is searched for: see the module's text."""

_BANDS = 16
_VALUES = 1 << 16
_TURNED = np.array([0, *(1 << bit for bit in range(16))], np.uint16)
"""What a band may differ by."""


class HammingTable:
    """Finds the nearest hash within a distance. Takes 96 bytes an entry. Immutable."""

    def __init__(self, hashes: Digests) -> None:
        hashes = np.ascontiguousarray(hashes)
        self._words = hashes.view(np.uint64)
        bands = hashes.view(np.uint16)
        self._rows = np.empty((_BANDS, len(hashes)), np.uint32)
        """Of each band: the entries, ordered by its value."""
        self._starts = np.zeros((_BANDS, _VALUES + 1), np.int64)
        """Of each band and value: where its entries begin in ``_rows``, flat."""
        for band in range(_BANDS):
            values = np.ascontiguousarray(bands[:, band])
            self._rows[band] = np.argsort(values, kind="stable")
            counts = np.bincount(values, minlength=_VALUES)
            np.cumsum(counts, out=self._starts[band, 1:])
            self._starts[band] += band * len(hashes)
        self._flat = self._rows.reshape(-1)

    def __len__(self) -> int:
        return len(self._words)

    def nearest(self, query: bytes, most: int) -> tuple[int, int] | None:
        """The row of the nearest hash and its distance, if that is at most ``most``, which is at
        most ``MOST_DISTANCE``. Of equally near ones, the first row."""
        bands = np.frombuffer(query, np.uint16)
        values = (bands[:, np.newaxis] ^ _TURNED).astype(np.intp)
        of_band = np.arange(_BANDS)[:, np.newaxis]
        begins = self._starts[of_band, values].reshape(-1)
        counts = self._starts[of_band, values + 1].reshape(-1) - begins
        total = int(counts.sum())
        if total == 0:
            return None
        # All places of all buckets in one run: a bucket's begin, minus how many came before it.
        shifts = begins - (np.cumsum(counts) - counts)
        rows = self._flat[np.repeat(shifts, counts) + np.arange(total)]
        differing = self._words[rows] ^ np.frombuffer(query, np.uint64)
        distances = np.bitwise_count(differing).sum(axis=1, dtype=np.intp)
        distance = int(distances.min())
        if distance > most:
            return None
        return int(rows[distances == distance].min()), distance
