"""What of a file its pixels need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.adapters.decode.wire import Refused


@dataclass(frozen=True, slots=True)
class DeepGrey:
    """What the samples of a grey image of more than 8 bits mean, where the decoder does not say."""

    bits: int
    unsigned: bool = True
    zero_is_white: bool = False


@dataclass(frozen=True, slots=True)
class Essentials:
    """A file without what viewers pass over: comments, profiles, thumbnails, text.

    ``body`` is for the decoder. ``exif`` (with or without its ``Exif`` head) and ``xmp`` are there
    for the orientation alone, and may be broken. ``frames`` is None where the decoder says it.
    ``covers`` says whether the first frame covers the whole canvas, ``grey`` what its deep samples
    mean.
    """

    body: bytes
    exif: bytes = b""
    xmp: bytes = b""
    frames: int | None = None
    covers: bool = True
    grey: DeepGrey | None = None


class ImageFile(Protocol):
    """What is known of a format without decoding its pixels. Each module of this package is one.

    Both functions take the whole file, of any content, in bounded time.
    """

    def essentials(self, body: bytes) -> Essentials:
        """Take a file apart.

        Raises:
            Refused: its structure leaves no doubt that it cannot be decoded.
        """

    def fault(self, body: bytes, *, opened: bool) -> Refused:
        """Why the decoder refuses a file: cut off, damaged, or sound but of a kind it lacks.

        ``opened`` says whether its header was accepted.
        """
