"""An image to try the server with: a red circle on a light ground."""

from __future__ import annotations

import struct
import zlib

SIZE = 224
RADIUS = 70
RED, GROUND = bytes((214, 40, 40)), bytes((238, 238, 232))


def sample_png() -> bytes:
    """The file, written without a library."""
    middle = (SIZE - 1) / 2
    rows = bytearray()
    for y in range(SIZE):
        rows.append(0)  # the row is not filtered
        for x in range(SIZE):
            inside = (x - middle) ** 2 + (y - middle) ** 2 <= RADIUS**2
            rows += RED if inside else GROUND
    head = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
