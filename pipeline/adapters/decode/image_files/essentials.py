"""The parts of a file that its pixels need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.adapters.decode.wire import Refused


@dataclass(frozen=True, slots=True)
class DeepGrey:
    """The meaning of the samples of a grey image of more than 8 bits, if the decoder does not
    tell."""

    bits: int
    unsigned: bool = True
    zero_is_white: bool = False


@dataclass(frozen=True, slots=True)
class Essentials:
    """A file without the parts that viewers ignore: comments, profiles, thumbnails, text.

    ``body`` is for the decoder. ``exif`` (with or without its ``Exif`` head) and ``xmp`` serve only
    for the orientation, and may be broken. ``frames`` is None if the decoder counts them.
    ``animation`` is a file with all frames, where ``body`` has only the first one.
    ``covers`` says whether the first frame covers the whole canvas. ``grey`` is the meaning of deep
    samples.
    """

    body: bytes
    exif: bytes = b""
    xmp: bytes = b""
    frames: int | None = None
    animation: bytes | None = None
    covers: bool = True
    grey: DeepGrey | None = None


class ImageFile(Protocol):
    """What can be known of a format without decoding its pixels. Each module of this package
    implements it.

    Both functions take the whole file, of any content, in bounded time.
    """

    def essentials(self, body: bytes) -> Essentials:
        """Take a file apart.

        Raises:
            Refused: by its structure the file certainly cannot be decoded.
        """

    def fault(self, body: bytes, *, opened: bool) -> Refused:
        """Why the decoder refuses a file: the file is cut off, damaged, or valid but of an
        unsupported kind.

        ``opened`` says whether the decoder accepted its header.
        """
