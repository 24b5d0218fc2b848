"""Teaches Pillow to read HEIF through libheif and libde265. Runs only in a decoder's child.

libheif turns an image upright itself, by the file's own properties (``irot``, ``imir``). The
standard gives these precedence over EXIF; the binding sets the EXIF orientation to 1.
"""

from __future__ import annotations

import importlib
from typing import Any

_NO_THREADS = 0
"""With 0, libheif decodes tiles in its caller's thread. With 1 it starts a second thread for
them."""

_MEMORY = "Memory allocation error"
"""Start of libheif's messages for `heif_error_Memory_allocation_error`."""


def register() -> None:
    """Make Pillow open HEIF.

    Raises:
        RuntimeError: the library is not installed, or not complete.
    """
    try:
        binding: Any = importlib.import_module("pillow_heif")
        binding.register_heif_opener(
            decode_threads=_NO_THREADS, thumbnails=False, depth_images=False, aux_images=False
        )
    except ImportError as error:
        raise RuntimeError(
            f"decode.formats: HEIF needs a library that cannot be loaded ({error}); install "
            "clipstream[heif], or take HEIF out of the list"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Whether the library's error says that there was no memory."""
    return isinstance(error, RuntimeError) and str(error).startswith(_MEMORY)
