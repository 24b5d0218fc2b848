"""Makes JPEG files of pixels, with Pillow. Reads no file: those that come from outside are decoded
in ``pipeline.adapters.decode`` alone."""

from __future__ import annotations

import io

from pipeline.records import Pixels

QUALITY = 82


def as_jpeg(pixels: Pixels) -> bytes:
    """A JPEG file of RGB pixels [height, width, 3], without metadata. Blocks for milliseconds."""
    # Imported here: only servers with a console need Pillow in their own process.
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
