"""Exact digests: a sorted column of their first 8 bytes, and a comparison of the rest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint8]
"""uint8 [entries, 32]."""


class DigestTable:
    """Finds a digest among many, in about 10 µs. Takes 44 bytes an entry. Immutable."""

    def __init__(self, digests: Digests) -> None:
        words = np.ascontiguousarray(digests).view(">u8")
        heads = words[:, 0].astype(np.uint64)
        self._order = np.argsort(heads, kind="stable").astype(np.uint32)
        self._heads = heads[self._order]
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, digest: bytes) -> int | None:
        """The row of the digest, the first of several; None if the table does not have it."""
        head = np.uint64(int.from_bytes(digest[:8], "big"))
        place = int(np.searchsorted(self._heads, head))
        while place < len(self._heads) and self._heads[place] == head:
            row = int(self._order[place])
            if self._digests[row].tobytes() == digest:
                return row
            place += 1
        return None
