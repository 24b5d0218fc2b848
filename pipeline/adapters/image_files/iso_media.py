"""AVIF and its like: boxes of the ISO base media file format (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.adapters.decode_wire import Refused, Verdict
from pipeline.adapters.image_files.essentials import Essentials

_METADATA = (b"Exif", b"mime")
"""Types of items that hold no pixels. An orientation in them does not count: the file has its own
properties for that."""
_FREE = b"free"

_MAX_EDGE = 32_768
"""libavif's own limit (``AVIF_DEFAULT_IMAGE_DIMENSION_LIMIT``)."""

_size_property = re.compile(rb"ispe\0\0\0\0(.{4})(.{4})", re.DOTALL)


def essentials(body: bytes) -> Essentials:
    """Have no decoder look at metadata: libavif refuses a file for broken ones."""
    kinds = [at for at in _item_types(body) if body[at : at + 4] in _METADATA]
    if not kinds:
        return Essentials(body)
    patched = bytearray(body)
    for at in kinds:
        patched[at : at + 4] = _FREE
    return Essentials(bytes(patched))


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
