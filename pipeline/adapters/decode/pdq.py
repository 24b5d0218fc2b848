"""Computes PDQ hashes with the reference implementation. Runs only in a decoder's child, and only
where a list of known pictures needs it: its libraries take memory and time to load.

The reference hashes a picture with an edge of more than 512 pixels after it has taken 512 x 512 of
its pixels: of the row ``y`` the one at ``floor(y * height / 512)``, and likewise across. The
library has no such step, so it is done here. Hashes are then those of the reference's own program,
bit by bit.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from pipeline.errors import Halt

if TYPE_CHECKING:
    from PIL import Image

_LIBRARY = "pdqhash"
_EDGE = 512
"""The reference's ``DOWNSAMPLE_DIMS``, in pixels."""


def require_pdq() -> None:
    """Check that the library is there, without loading it.

    Raises:
        Halt: ``known.pdq_missing``.
    """
    if importlib.util.find_spec(_LIBRARY) is None:
        raise Halt(
            "known.pdq_missing",
            "known.lists: a list of kind pdq needs a library that is not installed; run "
            "`pip install 'clipstream[pdq]'`, or take the list out",
        )


class PdqHasher:
    """Computes PDQ hashes. Build it before the child is confined.

    Raises:
        RuntimeError: the library is not installed, or not complete.
    """

    def __init__(self) -> None:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the child may not start threads
        try:
            self._numpy: Any = importlib.import_module("numpy")
            self._compute: Any = importlib.import_module(_LIBRARY).compute
        except ImportError as error:
            raise RuntimeError(
                f"known.lists: a list of kind pdq needs a library that cannot be loaded ({error}); "
                "run `pip install 'clipstream[pdq]'`, or take the list out"
            ) from error

    def __call__(self, picture: Image.Image) -> tuple[bytes, int]:
        """The 32 bytes of the hash, the highest bit first, and its quality, 0 to 100."""
        bits, quality = self._compute(self._pixels(picture))
        return self._numpy.packbits(bits.astype(self._numpy.uint8)).tobytes(), int(quality)

    def _pixels(self, picture: Image.Image) -> Any:
        """uint8 [height, width, 3], of which no edge is longer than ``_EDGE``. Row by row: a copy
        of the whole picture would not fit the child's memory limit."""
        width, height = picture.size
        if max(width, height) > _EDGE:
            rows = [row * height // _EDGE for row in range(_EDGE)]
            columns = self._numpy.arange(_EDGE) * width // _EDGE
        else:
            rows, columns = list(range(height)), self._numpy.arange(width)
        pixels = self._numpy.empty((len(rows), len(columns), 3), self._numpy.uint8)
        for place, row in enumerate(rows):
            line = picture.crop((0, row, width, row + 1)).convert("RGB").tobytes()
            flat = self._numpy.frombuffer(line, self._numpy.uint8)
            pixels[place] = flat.reshape(width, 3)[columns]
        return pixels
