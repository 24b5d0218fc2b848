"""Computes PDQ hashes. Runs only in a decoder's child, and only where a list of known pictures
needs them: numpy takes memory and time to load.

The algorithm is that of "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm"
(Facebook, 2019), with the constants and the roundings of its reference implementation in C++. The
hashes are those of the reference, bit by bit. Only where a value lies at the median may another
library of matrices turn a bit.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from PIL import Image

_EDGE = 512
"""The reference's ``DOWNSAMPLE_DIMS``, in pixels: of a picture with a longer edge it takes
512 x 512 pixels, of the row ``y`` the one at ``floor(y * height / 512)``, and likewise across."""
_LEAST_EDGE = 5
"""The reference's ``MIN_HASHABLE_DIM``: a smaller picture has the hash 0 and the quality 0."""
_SIDE = 64
"""Edge of the square that is transformed."""
_WAVES = 16
"""Kept along each axis: their signs are the 256 bits."""
_LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue."""
_BEST_QUALITY = 100


class PdqHasher:
    """Computes PDQ hashes. Build it before the child is confined."""

    def __init__(self) -> None:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the child may not start threads
        numpy = self._numpy = importlib.import_module("numpy")
        angles = numpy.outer(numpy.arange(1, _WAVES + 1), 2 * numpy.arange(_SIDE) + 1)
        cosines = numpy.sqrt(2 / _SIDE) * numpy.cos(numpy.pi / (2 * _SIDE) * angles)
        self._transform = cosines.astype(numpy.float32)
        self._luma = numpy.array(_LUMA, numpy.float32)
        self._largest = self._reduction(_EDGE)

    def __call__(self, picture: Image.Image) -> tuple[bytes, int]:
        """The 32 bytes of the hash, the highest bit first, and its quality, 0 to 100."""
        return self.of_pixels(self._pixels(picture))

    def of_pixels(self, pixels: Any) -> tuple[bytes, int]:
        """The same of uint8 [height, width, 3], of which no edge is longer than 512."""
        numpy = self._numpy
        height, width, _ = pixels.shape
        if min(height, width) < _LEAST_EDGE:
            return bytes(_WAVES * _WAVES // 8), 0
        luma = pixels.astype(numpy.float32) @ self._luma
        down, across = (
            self._largest if edge == _EDGE else self._reduction(edge) for edge in (height, width)
        )
        square = down @ luma @ across.T
        spectrum = (self._transform @ square @ self._transform.T).ravel()
        # The lower of the two in the middle, as the reference's median.
        median = numpy.sort(spectrum)[len(spectrum) // 2 - 1]
        # The reference's first bit is the last of its text.
        return numpy.packbits((spectrum > median)[::-1]).tobytes(), self._quality(square)

    def _reduction(self, edge: int) -> Any:
        """The matrix [64, edge] that filters values along an edge and takes 64 of them. The filter
        is Jarosz': two passes of a box, which at the ends takes the mean of what there is."""
        numpy = self._numpy
        window = (edge + 2 * _SIDE - 1) // (2 * _SIDE)
        places = numpy.arange(edge)
        last = numpy.minimum(places + (window + 2) // 2 - 1, edge - 1)
        first = numpy.maximum(places + (window + 2) // 2 - window, 0)
        within = (places >= first[:, None]) & (places <= last[:, None])
        box = within / (last - first + 1)[:, None]
        taken = ((numpy.arange(_SIDE) + 0.5) * edge / _SIDE).astype(int)
        return (box[taken] @ box).astype(numpy.float32)

    def _quality(self, square: Any) -> int:
        """How much there is to see: the sum of the differences between neighbours, in percent of
        the whole range, each rounded towards zero."""
        steps = (self._numpy.diff(square, axis=axis) * 100 / 255 for axis in (0, 1))
        total = sum(int(self._numpy.abs(self._numpy.trunc(each)).sum()) for each in steps)
        return min(total // 90, _BEST_QUALITY)

    def _pixels(self, picture: Image.Image) -> Any:
        """uint8 [height, width, 3], of which no edge is longer than ``_EDGE``."""
        width, height = picture.size
        if max(width, height) > _EDGE:
            across, down = width / _EDGE, height / _EDGE
            # Of a place ``x`` Pillow takes the pixel at floor(across * (x + 0.5) + shift): here
            # floor(across * x + a bit), and the bit is less than what fractions of 512 differ by.
            shifts = [1 / (4 * _EDGE) - scale / 2 for scale in (across, down)]
            picture = picture.transform(
                (_EDGE, _EDGE),
                Image.Transform.AFFINE,
                (across, 0, shifts[0], 0, down, shifts[1]),
                Image.Resampling.NEAREST,
            )
        return self._numpy.asarray(picture.convert("RGB"))
