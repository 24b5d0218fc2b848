"""Reads the structure of files of each format, before Pillow and in addition to it.

Read ``essentials`` first: what is looked up in every file. Then read a format: ``png``, ``jpeg``,
``gif``, ``webp``, ``bmp`` or ``tiff``. ``iso_media`` is for AVIF and HEIF. Only a decoder's child
takes files apart. Standard library only.
"""

from __future__ import annotations

from pipeline.adapters.decode.image_files import bmp, gif, iso_media, jpeg, png, tiff, webp
from pipeline.adapters.decode.image_files.essentials import DeepGrey, Essentials, ImageFile

IMAGE_FILES: dict[str, ImageFile] = {
    "JPEG": jpeg,
    "PNG": png,
    "WEBP": webp,
    "GIF": gif,
    "BMP": bmp,
    "AVIF": iso_media,
    "HEIF": iso_media,
    "TIFF": tiff,
}

__all__ = ["IMAGE_FILES", "DeepGrey", "Essentials", "ImageFile"]
