"""Nearly equal embeddings, found exactly without comparing all.

A cosine of at least ``c`` between vectors ``a`` and ``b`` means that they are at most
``sqrt(|a|^2 + |b|^2 - 2 c)`` apart. A projection onto orthonormal axes never makes a distance
larger, so entries whose projections are further apart than that are left out unseen. The axes are
the entries' own principal axes, along which entries differ most. Entries are sorted along the
first: one search finds those within reach of it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Floats32 = npt.NDArray[np.float32]

_AXES = 32
_FIRST_AXES = 8
"""Axes that are looked at before the others: most entries are out of reach in them already."""
_SAMPLE = 4_096
"""Entries that the axes are computed from. Any orthonormal axes give the same answers; those of a
sample find them nearly as fast."""
_SLACK = 1e-4
"""Added to a distance, for the rounding of float32. Far more than it can be."""


class CosineTable:
    """Finds the entry with the largest cosine, if that is large enough. Immutable.

    Takes 128 bytes an entry beside the vectors themselves. ``vectors`` [entries, dimension] have no
    length of 0.
    """

    def __init__(self, vectors: Floats) -> None:
        wide = vectors.astype(np.float64)
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        sample = wide[:: max(1, len(wide) // _SAMPLE)]
        sample = sample - sample.mean(axis=0)
        _, axes = np.linalg.eigh(sample.T @ sample)  # the largest last
        self._axes = np.ascontiguousarray(axes[:, ::-1][:, :_AXES])
        projected = wide @ self._axes
        self._order = np.argsort(projected[:, 0], kind="stable")
        ordered = projected[self._order].astype(np.float32)
        self._first = np.ascontiguousarray(ordered[:, 0])
        self._near = np.ascontiguousarray(ordered[:, :_FIRST_AXES])
        self._far = np.ascontiguousarray(ordered[:, _FIRST_AXES:])
        self._vectors = wide.astype(np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def nearest(self, vector: Floats, least: float) -> tuple[int, float] | None:
        """The row with the largest cosine and that cosine, if it is at least ``least``. The cosine
        is the product of the vector, as it is, with the entry of length 1."""
        query = vector.astype(np.float64)
        apart = math.sqrt(max(0.0, float(query @ query) + 1 - 2 * least)) + _SLACK
        own = (query @ self._axes).astype(np.float32)
        begin = np.searchsorted(self._first, own[0] - apart)
        end = np.searchsorted(self._first, own[0] + apart, side="right")
        squares = _squares(self._near[begin:end], own[:_FIRST_AXES])
        within = np.flatnonzero(squares <= apart * apart)
        further = _squares(self._far[begin + within], own[_FIRST_AXES:])
        within = within[squares[within] + further <= apart * apart]
        if len(within) == 0:
            return None
        rows = np.sort(self._order[begin + within])
        cosines = self._vectors[rows].astype(np.float64) @ query
        best = int(cosines.argmax())
        cosine = min(float(cosines[best]), 1.0)
        return (int(rows[best]), cosine) if cosine >= least else None


def _squares(entries: Floats32, own: Floats32) -> Floats32:
    """The squared distances of the entries from ``own``."""
    differences = entries - own
    squares: Floats32 = np.einsum("ij,ij->i", differences, differences)
    return squares
