"""Image files put together field by field, so that each can be odd in one way."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image, TiffImagePlugin

from pipeline.adapters.decode.pillow import PillowDecoder
from pipeline.adapters.decode.wire import Refused

ALL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@contextmanager
def pillow_decoder(
    *, fast: bool = False, reject: bool = False, max_pixels: int = 1_000_000
) -> Iterator[PillowDecoder]:
    """The decoder in this process, with Pillow's settings put back afterwards."""
    with (
        patch.object(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS),
        patch.object(TiffImagePlugin, "READ_LIBTIFF", TiffImagePlugin.READ_LIBTIFF),
        patch.object(AvifImagePlugin, "DEFAULT_MAX_THREADS", 0),
    ):
        yield PillowDecoder(
            formats=ALL_FORMATS, max_pixels=max_pixels, reject_animations=reject, fast=fast
        )


def seen(body: bytes, edge: int, *, fast: bool = False) -> npt.NDArray[np.int64]:
    """What the model sees of an image of that many pixels each way: no pixel is resampled."""
    with pillow_decoder(fast=fast) as decoder:
        pixels = decoder.decode(body, edge, edge).pixels
    return np.frombuffer(pixels, np.uint8).reshape(edge, edge, 3).astype(np.int64)


def verdict(body: bytes, *, fast: bool = False) -> str:
    """The code of a file, or its format where it is decoded."""
    with pillow_decoder(fast=fast) as decoder:
        try:
            return decoder.decode(body, 8, 8).format
        except Refused as refused:
            return f"decode.{refused.verdict.name.lower()}"


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG; ``damaged`` gives it a wrong checksum."""

    name: bytes
    data: bytes = b""
    damaged: bool = False

    def __bytes__(self) -> bytes:
        checksum = zlib.crc32(self.name + self.data) ^ self.damaged
        return (
            struct.pack(">I", len(self.data)) + self.name + self.data + checksum.to_bytes(4, "big")
        )


def png(
    width: int, height: int, depth: int, colour: int, *chunks: Chunk, interlaced: bool = False
) -> bytes:
    """A PNG of a header, these chunks and an end."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return PNG_SIGNATURE + b"".join(map(bytes, (Chunk(b"IHDR", header), *chunks, Chunk(b"IEND"))))


def pixels_of_png(rows: Iterable[bytes]) -> Chunk:
    return Chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))


def packed(samples: Sequence[int], bits: int) -> bytes:
    """Samples of a row, highest bit first; 16 bits and more big-endian."""
    row = "".join(f"{sample:0{bits}b}" for sample in samples)
    row += "0" * (-len(row) % 8)
    return int(row, 2).to_bytes(len(row) // 8, "big") if row else b""


def segment(marker: int, data: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with these behind its beginning."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def gif(
    screen: tuple[int, int],
    box: tuple[int, int, int, int],
    indices: Sequence[int],
    palette: Sequence[Sequence[int]],
    *extensions: bytes,
) -> bytes:
    """A GIF of one image of at most 128 colours, uncompressed: each code of 8 bits stands for
    itself, and the table is cleared before codes grow."""
    table = b"".join(bytes(colour) for colour in palette).ljust(384, b"\0")
    codes: list[int] = []
    for number, index in enumerate(indices):
        if number % 100 == 0:
            codes.append(128)
        codes.append(index)
    data = bytes([*codes, 129])
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    left, top, width, height = box
    return b"".join(
        [
            b"GIF89a",
            struct.pack("<HHBBB", *screen, 0xF6, 0, 0),
            table,
            *extensions,
            struct.pack("<BHHHHB", 0x2C, left, top, width, height, 0),
            bytes([7]),
            *(bytes([len(block)]) + block for block in blocks),
            b"\0;",
        ]
    )


def bmp(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    *,
    compression: int = 0,
    masks: Sequence[int] = (),
    header_bytes: int = 124,
    tail: bytes = b"",
) -> bytes:
    """A BMP of Windows, rows as given."""
    fields = struct.pack(
        "<IIiHHIIiiII", header_bytes, width, height, 1, bits, compression, len(pixels), 0, 0, 0, 0
    )
    fields += b"".join(struct.pack("<I", mask) for mask in masks)
    fields = fields.ljust(header_bytes, b"\0")[: max(header_bytes, 40 + 4 * len(masks))]
    offset = 14 + len(fields)
    size = offset + len(pixels) + len(tail)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + fields + pixels + tail


@dataclass
class Tiff:
    """A TIFF of one directory, uncompressed unless tags say otherwise."""

    width: int
    height: int
    planes: Sequence[bytes]
    bits: Sequence[int]
    photometric: int
    big_endian: bool = False
    planar: int = 1
    sample_format: int = 1
    tags: Mapping[int, bytes | tuple[int, Sequence[int]]] = field(default_factory=dict)
    """More tags: bytes (undefined), or a type and its numbers."""

    def __bytes__(self) -> bytes:
        order = ">" if self.big_endian else "<"
        body = bytearray((b"MM\0*" if self.big_endian else b"II*\0") + bytes(4))
        offsets = []
        for plane in self.planes:
            offsets.append(len(body))
            body += plane + bytes(len(plane) % 2)
        tags: dict[int, bytes | tuple[int, Sequence[int]]] = {
            256: (3, [self.width]),
            257: (3, [self.height]),
            258: (3, self.bits),
            259: (3, [1]),
            262: (3, [self.photometric]),
            273: (4, offsets),
            277: (3, [len(self.bits)]),
            278: (3, [self.height]),
            279: (4, [len(plane) for plane in self.planes]),
            284: (3, [self.planar]),
            339: (3, [self.sample_format] * len(self.bits)),
            **self.tags,
        }
        entries = []
        for tag, value in sorted(tags.items()):
            if isinstance(value, bytes):
                kind, count, data = 7, len(value), value
            else:
                kind, numbers = value
                letter = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}[kind]
                count, data = len(numbers), struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
            if len(data) > 4:
                at = len(body)
                body += data + bytes(len(data) % 2)
                data = struct.pack(order + "I", at)
            entries.append(struct.pack(order + "HHI4s", tag, kind, count, data))
        body[4:8] = struct.pack(order + "I", len(body))
        return bytes(body) + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
