"""Nearly equal hashes of 256 bits, found by multi-index hashing.

A hash has 4 quarters of 64 bits, and each quarter 4 bands of 16 bits. Two hashes that differ in at
most 31 bits differ in at most 7 bits of at least one quarter, because 4 * 8 is 32. In that quarter
they differ in at most 1 bit of at least one band, because 4 * 2 is 8. So every hash within reach
has a band that is one of 17 values, the query's or the query's with one bit turned, and a quarter
around it that differs in at most 7 bits. A table for each band says which entries have a value, and
has their quarters beside it. Of a million entries with bits like coin tosses, 16 * 17 values hold
about 4,150, and almost none of them has such a quarter. The rest is compared in full.

Norouzi, Punjani and Fleet 2012, https://arxiv.org/abs/1307.2982.
"""

from __future__ import annotations

import numpy as np

from pipeline.known.digests import Digests

BITS = 256
MOST_DISTANCE = 31
"""Largest distance that is searched for: see the module's text."""

_QUARTERS = 4
_BANDS = 16
_VALUES = 1 << 16
_MOST_OF_QUARTER = MOST_DISTANCE // _QUARTERS
_TURNED = np.array([0, *(1 << bit for bit in range(16))], np.uint16)
"""What a band may differ by."""
_TABLES = (np.arange(_BANDS) * (_VALUES + 1))[:, np.newaxis]
"""Where each band's starts begin, in one run of all."""
_LAST_OF_QUARTER = [(quarter + 1) * len(_TURNED) * _BANDS // _QUARTERS - 1 for quarter in range(4)]
"""Places of the last values of each quarter's bands."""


class HammingTable:
    """Finds the nearest hash within a distance. Takes 224 bytes an entry. Immutable."""

    def __init__(self, hashes: Digests) -> None:
        hashes = np.ascontiguousarray(hashes)
        self._words = hashes.view(np.uint64)
        bands, entries = hashes.view(np.uint16), len(hashes)
        self._rows = np.empty(_BANDS * entries, np.uint32)
        """Of each band: the entries, ordered by its value."""
        self._quarters = np.empty(_BANDS * entries, np.uint64)
        """In the same order: the quarter of the entry that the band is in."""
        starts = np.zeros((_BANDS, _VALUES + 1), np.int64)
        """Of each band and value: where its entries begin."""
        for band in range(_BANDS):
            values = np.ascontiguousarray(bands[:, band])
            order = np.argsort(values, kind="stable")
            own = slice(band * entries, (band + 1) * entries)
            self._rows[own] = order
            self._quarters[own] = self._words[order, band * _QUARTERS // _BANDS]
            np.cumsum(np.bincount(values, minlength=_VALUES), out=starts[band, 1:])
            starts[band] += own.start
        self._starts = starts.reshape(-1)

    def __len__(self) -> int:
        return len(self._words)

    def nearest(self, query: bytes, most: int) -> tuple[int, int] | None:
        """The row of the nearest hash and its distance; None if the distance is above ``most``.
        ``most`` is ``MOST_DISTANCE`` or less. Of equally near hashes, the first row."""
        bands = np.frombuffer(query, np.uint16)[:, np.newaxis]
        values = ((bands ^ _TURNED) + _TABLES).reshape(-1)
        begins = self._starts.take(values)
        counts = self._starts.take(values + 1) - begins
        ends = counts.cumsum()
        # All places of all values in one run: a value's begin, minus how many came before it.
        places = np.repeat(begins - ends + counts, counts)
        places += np.arange(len(places))
        differing = self._quarters.take(places)
        words = np.frombuffer(query, np.uint64)
        begin = 0
        for word, end in zip(words, ends[_LAST_OF_QUARTER].tolist(), strict=True):
            differing[begin:end] ^= word
            begin = end
        near = places[np.bitwise_count(differing) <= _MOST_OF_QUARTER]
        if len(near) == 0:
            return None
        rows = self._rows[near]
        distances = np.bitwise_count(self._words[rows] ^ words).sum(axis=1, dtype=np.intp)
        distance = int(distances.min())
        if distance > most:
            return None
        return int(rows[distances == distance].min()), distance
