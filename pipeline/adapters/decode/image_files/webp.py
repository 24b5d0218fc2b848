"""WebP (RFC 9649): chunks in a RIFF frame."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters.decode.image_files.essentials import Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

_HEAD_BYTES = 12
_CHUNK_HEAD_BYTES = 8

_PIXELS = frozenset({b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"})


_RESERVED_FLAGS = 0b1100_0001
"""Reserved bits of the extended header's first byte."""


def essentials(body: bytes) -> Essentials:
    """Keep the chunks of pixels, whatever the other chunks hold, even if the file ends within
    those."""
    view = memoryview(body)
    kept: list[bytes | memoryview] = []
    metadata = {b"EXIF": b"", b"XMP ": b""}
    others = False
    for name, start, data_end, end in _chunks(body):
        if name in _PIXELS:
            if data_end > len(body):
                return Essentials(body)
            if name == b"VP8X" and body[start + _CHUNK_HEAD_BYTES] & _RESERVED_FLAGS:
                others = True  # readers must ignore them, and libwebp refuses them
                flags = body[start + _CHUNK_HEAD_BYTES] & ~_RESERVED_FLAGS
                kept.append(body[start : start + _CHUNK_HEAD_BYTES] + bytes([flags]))
                start += _CHUNK_HEAD_BYTES + 1
            kept.append(view[start:end])
            continue
        others = True
        if name in metadata:
            metadata[name] = bytes(view[start + _CHUNK_HEAD_BYTES : data_end])
    if kept and (others or _announced(body) > len(body)):
        size = len(b"WEBP") + sum(map(len, kept))
        body = b"".join([b"RIFF", size.to_bytes(4, "little"), b"WEBP", *kept])
    return Essentials(body, exif=metadata[b"EXIF"], xmp=metadata[b"XMP "])


def fault(body: bytes, *, opened: bool) -> Refused:
    # libwebp does not say why it refuses.
    for name, _, data_end, _ in _chunks(body):
        if name in _PIXELS and data_end > len(body):
            return Refused(Verdict.TRUNCATED, "WebP that ends before its pixels do")
    if len(body) < _HEAD_BYTES + _CHUNK_HEAD_BYTES:
        return Refused(Verdict.TRUNCATED, "WebP that ends in its header")
    return Refused(Verdict.CORRUPT, "WebP whose pixels cannot be decoded")


def _announced(body: bytes) -> int:
    return 8 + int.from_bytes(body[4:8], "little")


def _chunks(body: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, beginning, end of the data and of their padding, of each chunk begun in the frame."""
    at, stop = _HEAD_BYTES, min(len(body), _announced(body))
    while at + _CHUNK_HEAD_BYTES <= stop:
        size = int.from_bytes(body[at + 4 : at + 8], "little")
        data_end = at + _CHUNK_HEAD_BYTES + size
        yield body[at : at + 4], at, data_end, data_end + (size & 1)
        at = data_end + (size & 1)
