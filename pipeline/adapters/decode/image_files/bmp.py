"""BMP: the headers of Windows (12, 40 to 124 bytes) and of OS/2 (12, 16 to 64)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.adapters.decode.image_files.essentials import Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

_FILE_HEADER_BYTES = 14
_CORE_HEADER_BYTES = 12
_HEADER_BYTES = 40
_OS2_HEADER_BYTES = range(16, 65)
_WINDOWS_HEADER_BYTES = frozenset({40, 52, 56, 108, 124})

_HEADER = struct.Struct("<IIiHHIIiiII")

_PLAIN, _RLE8, _RLE4, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 1, 2, 3, 6
_COMPRESSIONS = {4: "an embedded JPEG", 5: "an embedded PNG", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
_OS2_COMPRESSIONS = {3: "Huffman coding", 4: "run lengths of 24 bits"}

_DEPTHS = frozenset({1, 4, 8, 16, 24, 32})

_HIGHEST_OF_16_BITS = 0x8000
_WITH_HIGHEST_BIT = bytes(range(0x80, 0x100))


@dataclass(frozen=True, slots=True)
class _Header:
    size: int
    width: int
    height: int
    bits: int
    compression: int
    data_bytes: int
    offset: int
    masks: tuple[int, ...]
    """Masks of red, green, blue and alpha, if the file gives them."""


def essentials(body: bytes) -> Essentials:
    header = _header(body)
    if header is not None:
        if header.size in _OS2_HEADER_BYTES and header.size not in _WINDOWS_HEADER_BYTES:
            kind = _OS2_COMPRESSIONS.get(header.compression)
            if kind:  # Pillow would read the number in Windows' meaning
                raise Refused(Verdict.UNSUPPORTED_VARIANT, f"BMP of OS/2 with {kind}")
        if header.bits == 16 and len(header.masks) == 4 and _alpha_varies(body, header):
            raise Refused(Verdict.UNSUPPORTED_VARIANT, "BMP of 16 bits with transparency")
    return Essentials(body, frames=1)


def fault(body: bytes, *, opened: bool) -> Refused:
    header = _header(body)
    if header is None:
        if len(body) < _FILE_HEADER_BYTES + _HEADER_BYTES:
            return Refused(Verdict.TRUNCATED, "BMP that ends in its header")
        return Refused(Verdict.CORRUPT, "BMP whose header cannot be read")
    kind = _unsupported(header)
    if kind:
        return Refused(Verdict.UNSUPPORTED_VARIANT, f"BMP with {kind}")
    if header.bits not in _DEPTHS:
        return Refused(Verdict.CORRUPT, f"BMP of {header.bits} bits a pixel")
    if header.offset + _pixel_bytes(header) > len(body):
        return Refused(Verdict.TRUNCATED, "BMP that ends before its pixels do")
    return Refused(Verdict.CORRUPT, "BMP whose pixels cannot be decoded")


def _header(body: bytes) -> _Header | None:
    """None if the header is incomplete, or of a kind that no writer makes."""
    offset, size = struct.unpack_from("<II", body.ljust(18, b"\0"), 10)
    if len(body) < _FILE_HEADER_BYTES + size:
        return None
    if size == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", body, 18)
        return _Header(size, width, height, bits, _PLAIN, 0, offset, ())
    if size not in _WINDOWS_HEADER_BYTES and size not in _OS2_HEADER_BYTES:
        return None
    # In OS/2 a header may end after any field. Missing fields are 0.
    fields = body[_FILE_HEADER_BYTES : _FILE_HEADER_BYTES + size][:_HEADER_BYTES]
    _, width, height, _, bits, compression, data_bytes, *_ = _HEADER.unpack(
        fields.ljust(_HEADER_BYTES, b"\0")
    )
    masks: tuple[int, ...] = ()
    if compression in (_BIT_FIELDS, _ALPHA_BIT_FIELDS) and size in _WINDOWS_HEADER_BYTES:
        count = 4 if size >= 56 or compression == _ALPHA_BIT_FIELDS else 3
        at = _FILE_HEADER_BYTES + _HEADER_BYTES
        masks = struct.unpack_from(f"<{count}I", body.ljust(at + 16, b"\0"), at)
    return _Header(size, width, abs(height), bits, compression, data_bytes, offset, masks)


def _unsupported(header: _Header) -> str:
    """What Pillow does not read in a valid file; empty if there is nothing."""
    if header.size not in _WINDOWS_HEADER_BYTES | {_CORE_HEADER_BYTES, 64}:
        return f"a header of {header.size} bytes, as OS/2 made them"
    if header.compression in _COMPRESSIONS:
        return _COMPRESSIONS[header.compression]
    if header.bits in (2, 64) and header.compression == _PLAIN:
        return f"{header.bits} bits a pixel"
    if header.masks and _is_sensible(header.masks, header.bits):
        return "bit fields of " + ":".join(str(mask.bit_count()) for mask in header.masks)
    return ""


def _is_sensible(masks: tuple[int, ...], bits: int) -> bool:
    """Whether the masks are adjacent runs of bits within a pixel."""
    if bits not in (16, 24, 32) or not all(masks[:3]):
        return False
    taken = 0
    for mask in masks:
        run = mask // (mask & -mask) if mask else 0
        if mask >> bits or mask & taken or run & (run + 1):
            return False
        taken |= mask
    return True


def _pixel_bytes(header: _Header) -> int:
    if header.compression in (_RLE8, _RLE4):
        return header.data_bytes
    return (header.width * header.bits + 31) // 32 * 4 * header.height


def _alpha_varies(body: bytes, header: _Header) -> bool:
    """Whether some pixels of 16 bits are opaque and others are not. Pillow takes all for opaque.

    Apart from the colours that Pillow reads, only the highest bit is left for alpha.
    """
    if header.masks[3] != _HIGHEST_OF_16_BITS or not header.width:
        return False
    row_bytes = (header.width * 2 + 3) // 4 * 4
    end = header.offset + row_bytes * header.height
    pixels = 0
    clear = 0
    for at in range(header.offset, min(end, len(body)), row_bytes):
        row = body[at + 1 : at + 2 * header.width : 2]
        pixels += len(row)
        clear += len(row.translate(None, delete=_WITH_HIGHEST_BIT))
    return 0 < clear < pixels
