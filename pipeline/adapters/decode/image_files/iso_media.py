"""AVIF and HEIF: boxes of the ISO base media file format (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from pipeline.adapters.decode.image_files.essentials import Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

_METADATA = (b"Exif", b"mime")
"""Types of items without pixels. An orientation in them does not count, because the file has its
own properties for that."""
_TRACKS = b"moov"
_FREE = b"free"

_OTHER_CODECS = {
    b"avc1": "AVC",
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"vvc1": "VVC",
    b"evc1": "EVC",
    b"unci": "plain samples",
}
"""Codecs of HEIF pictures without a bundled decoder, by the type of their items."""
_HEVC = b"hvc1"

_MAX_BOXES = 1_000
"""Most boxes read on one level of a sequence. An honest file has some ten."""

_MAX_EDGE = 32_768
"""libavif's own limit (``AVIF_DEFAULT_IMAGE_DIMENSION_LIMIT``)."""

_size_property = re.compile(rb"ispe\0\0\0\0(.{4})(.{4})", re.DOTALL)


def essentials(body: bytes) -> Essentials:
    """Hide metadata from the decoder, because libavif refuses files for it. Hide the tracks of a
    sequence from libheif, because the still picture next to them is decoded."""
    frames = _sequence_frames(body)
    items = list(_item_types(body))
    hidden = [at for at in items if body[at : at + 4] in _METADATA]
    if any(body[at : at + 4] == _HEVC for at in items):
        # A long box has its size between the type and the content.
        starts = [start for start, _ in _inside(body, (_TRACKS,), 0, len(body))]
        hidden += (at - 4 if body[at - 4 : at] == _TRACKS else at - 12 for at in starts)
    if not hidden:
        return Essentials(body, frames=frames)
    patched = bytearray(body)
    for at in hidden:
        patched[at : at + 4] = _FREE
    return Essentials(bytes(patched), frames=frames)


def fault(body: bytes, *, opened: bool) -> Refused:
    for name, start, end in _boxes(body, 0, len(body)):
        if end > len(body):
            return Refused(Verdict.TRUNCATED, "file that ends before its boxes do")
        if name == b"meta":
            for edges in _size_property.findall(body, start, end):
                width, height = (int.from_bytes(edge, "big") for edge in edges)
                if max(width, height) > _MAX_EDGE:
                    return Refused(
                        Verdict.UNSUPPORTED_VARIANT,
                        f"{width} x {height} pixels, of which libavif takes {_MAX_EDGE} each way",
                    )
    items = {body[at : at + 4] for at in _item_types(body)}
    others = sorted(_OTHER_CODECS[item] for item in items & _OTHER_CODECS.keys())
    if others and _HEVC not in items:
        return Refused(Verdict.UNSUPPORTED_VARIANT, f"pictures coded as {', '.join(others)}")
    if not items and _sequence_frames(body):
        return Refused(Verdict.UNSUPPORTED_VARIANT, "sequence of pictures without a still one")
    return Refused(Verdict.CORRUPT, "file whose pixels cannot be decoded")


def _item_types(body: bytes) -> Iterator[int]:
    """Where the type of each item stands."""
    for name, start, end in _boxes(body, 0, len(body)):
        if name != b"meta":
            continue
        for inner, inner_start, inner_end in _boxes(body, start + 4, min(end, len(body))):
            if inner != b"iinf":
                continue
            entries = inner_start + (6 if body[inner_start : inner_start + 1] == b"\0" else 8)
            for entry, entry_start, entry_end in _boxes(body, entries, min(inner_end, len(body))):
                version = body[entry_start : entry_start + 1]
                at = entry_start + (8 if version == b"\2" else 10)
                if entry == b"infe" and version in (b"\2", b"\3") and at + 4 <= entry_end:
                    yield at


def _sequence_frames(body: bytes) -> int | None:
    """Frames of a sequence's first picture track; None without such a track."""
    tracks = _inside(body, (_TRACKS, b"trak", b"mdia"), 0, len(body))
    for start, end in tracks:
        handlers = _inside(body, (b"hdlr",), start, end)
        if not any(body[at + 8 : at + 12] == b"pict" for at, _ in handlers):
            continue
        for at, _ in _inside(body, (b"minf", b"stbl", b"stsz"), start, end):
            return int.from_bytes(body[at + 8 : at + 12], "big") or None
    return None


def _inside(body: bytes, path: tuple[bytes, ...], at: int, stop: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of the content of each box at the end of a path of types."""
    for name, start, end in islice(_boxes(body, at, stop), _MAX_BOXES):
        if name == path[0]:
            if len(path) == 1:
                yield start, end
            else:
                yield from _inside(body, path[1:], start, min(end, stop))


def _boxes(body: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, beginning of the content and end of each box begun before ``stop``."""
    while at + 8 <= stop:
        size, head = int.from_bytes(body[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(body[at + 8 : at + 16], "big"), 16
        elif size == 0:  # to the end
            size = stop - at
        if size < head:
            return
        yield body[at + 4 : at + 8], at + head, at + size
        at += size
