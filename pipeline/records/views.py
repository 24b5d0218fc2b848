"""The parts of a file that a model looks at, where there are several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Published = npt.NDArray[np.float32] | npt.NDArray[np.float16]
"""Embeddings with the published dtype: little-endian float32 or float16."""

ViewKind = Literal["centre", "tile"]
"""The centred square of a frame, or another square along its longer side."""


@dataclass(frozen=True, slots=True)
class View:
    """A square of a frame. ``frame`` counts from 0. The edges are in pixels of the original, turned
    upright, with fractions."""

    kind: ViewKind
    frame: int
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class DecodedViews:
    """Two views or more, and the ``pixels`` of each: uint8 RGB [views, height, width, 3]."""

    places: tuple[View, ...]
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LookedViews:
    """Two views or more, and the embedding of each: [views, dimension]."""

    places: tuple[View, ...]
    embeddings: Published
