"""JPEG (ITU-T T.81, annex B), with the application segments that libjpeg and orientation need."""

from __future__ import annotations

import re

from pipeline.adapters.decode.image_files.essentials import Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

MAX_SEGMENTS = 10_000
"""Most segments before the first scan. An honest file has some dozens. Empty segments make readers
slow."""

_START_OF_IMAGE_BYTES = 2
_END, _SCAN, _COMMENT = 0xD9, 0xDA, 0xFE
_APPLICATION = range(0xE0, 0xF0)
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""Markers of frame headers, which say how pixels are coded. 0xF7 is that of JPEG-LS."""

_BY_BLOCKS = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Frames with a discrete cosine transform, which libjpeg can decode at reduced size too."""
_LOSSLESS = 0xC3

_JFIF, _JFIF_BYTES = b"JFIF\0", 14
_ADOBE, _ADOBE_BYTES = b"Adobe", 12
"""Segments that libjpeg guesses the colour space by, if they have their length."""

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"

_MAX_EDGE = 65_500
"""libjpeg's own limit (``JPEG_MAX_DIMENSION``)."""

_COMPONENTS = frozenset({1, 3, 4})

_marker = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]").search
"""The next marker with a segment, or the end marker: not padding, a byte of a scan, a restart or a
start."""


def essentials(body: bytes) -> Essentials:
    """Drop the segments that no pixel needs, whatever they hold."""
    kept: list[memoryview] = []
    view = memoryview(body)
    exif: list[bytes] = []
    xmp = b""
    since = 0
    for marker, at, end in _segments(body):
        data = view[at + 4 : end]
        if marker == 0xE1 and data[: len(_EXIF)] == _EXIF:
            exif.append(bytes(data[len(_EXIF) :]))  # more than 64 KiB need several segments
        elif marker == 0xE1 and data[: len(_XMP)] == _XMP:
            xmp = bytes(data[len(_XMP) :])
        if (marker in _APPLICATION or marker == _COMMENT) and not _tells_colours(marker, data):
            kept.append(view[since:at])
            since = end
    return Essentials(
        b"".join([*kept, view[since:]]) if kept else body, exif=b"".join(exif), xmp=xmp, frames=1
    )


def scales(body: bytes) -> bool:
    """Whether libjpeg can decode the file at reduced size."""
    return any(marker in _BY_BLOCKS for marker, _, _ in _segments(body) if marker in _FRAMES)


def fault(body: bytes, *, opened: bool) -> Refused:
    at = _START_OF_IMAGE_BYTES
    for marker, at, end in _segments(body):
        if marker in _FRAMES and end <= len(body):
            kind = _unsupported(marker, body[at + 4 : end])
            if kind:
                return Refused(Verdict.UNSUPPORTED_VARIANT, f"JPEG {kind}")
        if marker == _END:
            return Refused(Verdict.CORRUPT, "JPEG without pixels")
        at = end
        if marker == _SCAN:
            return _fault_in_scans(body, end)
    if at + 4 > len(body):
        return Refused(Verdict.TRUNCATED, "JPEG that ends in its header")
    return Refused(Verdict.CORRUPT, "JPEG whose header cannot be read")


def _segments(body: bytes) -> list[tuple[int, int, int]]:
    """Markers up to the first scan's, each with the places where it begins and where its segment
    ends.

    Rubbish between segments is skipped, as libjpeg does.

    Raises:
        Refused: more than ``MAX_SEGMENTS``.
    """
    found: list[tuple[int, int, int]] = []
    at = _START_OF_IMAGE_BYTES
    while (marked := _marker(body, at)) and marked.start() + 4 <= len(body):
        at = marked.start()
        marker = body[at + 1]
        end = at + 2 + max(2, int.from_bytes(body[at + 2 : at + 4], "big"))
        found.append((marker, at, end))
        if marker in (_SCAN, _END):
            break
        if len(found) > MAX_SEGMENTS:
            raise Refused(Verdict.CORRUPT, f"JPEG of more than {MAX_SEGMENTS:,} segments")
        at = end
    return found


def _tells_colours(marker: int, data: memoryview) -> bool:
    if marker == 0xE0:
        return len(data) >= _JFIF_BYTES and data[: len(_JFIF)] == _JFIF
    if marker == 0xEE:
        return len(data) >= _ADOBE_BYTES and data[: len(_ADOBE)] == _ADOBE
    return False


def _unsupported(marker: int, header: bytes) -> str:
    """What libjpeg or Pillow cannot read in a frame; empty if there is nothing."""
    if marker not in _BY_BLOCKS and marker != _LOSSLESS:
        return f"of process SOF{marker - 0xC0}" if marker != 0xF7 else "of JPEG-LS"
    if len(header) < 6:
        return ""
    bits, components = header[0], header[5]
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    if bits != 8:
        return f"of {bits} bits a sample"
    if components not in _COMPONENTS:
        return f"of {components} components"
    if max(width, height) > _MAX_EDGE:
        return f"of {width} x {height} pixels, of which libjpeg takes {_MAX_EDGE} each way"
    if not height:
        return "whose height stands behind its pixels"
    return ""


def _fault_in_scans(body: bytes, at: int) -> Refused:
    """Whether the scans go on to the end marker."""
    while found := _marker(body, at):
        at = found.end()
        if body[at - 1] == _END:
            return Refused(Verdict.CORRUPT, "JPEG whose pixels cannot be decoded")
        at += max(2, int.from_bytes(body[at : at + 2], "big"))
    return Refused(Verdict.TRUNCATED, "JPEG that ends before its pixels do")
