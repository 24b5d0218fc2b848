"""PNG (third edition, sections 5 and 11), with the chunks of animated ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.adapters.decode.image_files.essentials import Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

MAX_CHUNKS = 100_000
"""Most chunks. An honest chunk of pixels holds some KiB. Empty chunks are a way to make readers
slow."""

_SIGNATURE_BYTES = 8
_FRAME_BYTES = 12
"""Bytes of a chunk's length, name and checksum."""

_HEADER = struct.Struct(">IIBBBBB")
_APPLE = b"CgBI"
"""First chunk of the files that Xcode makes of PNGs: other order of channels, deflate without its
frame."""

_GREY, _COLOUR, _PALETTE = 0, 2, 3
_SAMPLES = {_GREY: 1, _COLOUR: 3}
"""Samples of a transparent colour, by colour type. A palette has an alpha for each entry."""

_CHANNELS = {_GREY: 1, _COLOUR: 3, _PALETTE: 1, 4: 2, 6: 4}
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row of each pass, and the steps between columns and rows."""
_AT_ONCE_BYTES = 65_536

_MOST_FRAMES = 0x80000000

_MAX_TEXT_BYTES = 1_000_000
"""Most decompressed bytes of a text that may hold an orientation."""

_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"
"""Keyword of ImageMagick's text chunk: hexadecimal, after two header lines."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    start: int
    end: int
    data: memoryview
    sound: bool
    """Whether the checksum is right."""


def essentials(body: bytes) -> Essentials:
    """Keep the pixels and the chunks that colour them. A broken chunk of any other kind counts as
    absent.

    Chunks of pixels are checked by the compressed stream's own checksum.
    """
    kept: list[bytes | memoryview] = [body[:_SIGNATURE_BYTES]]
    whole = memoryview(body)
    header: tuple[int, ...] | None = None
    entries = 0
    alpha = pixels = first_is_pixels = False
    frames: list[int] = []
    exif = xmp = b""
    for chunk in _chunks(body):
        name = chunk.name
        if header is None:
            header = _header(chunk)
            kept.append(whole[chunk.start : chunk.end])
        elif name == b"IDAT":
            if not pixels and header[3] == _PALETTE and not entries:
                raise Refused(Verdict.CORRUPT, "PNG with a palette's colours and no palette")
            pixels = True
            kept.append(whole[chunk.start : chunk.end])
        elif name == b"IEND":
            break
        elif name == b"PLTE":
            if header[3] == _PALETTE and not pixels:
                entries = _palette_entries(chunk)
                kept.append(whole[chunk.start : chunk.end])
        elif name == b"tRNS":
            if chunk.sound and not alpha and not pixels:
                rewritten = _transparency(chunk.data, header, entries)
                alpha = bool(rewritten)
                kept.append(rewritten)
        elif name == b"acTL":
            if chunk.sound and not pixels and len(chunk.data) >= 8:
                frames.append(int.from_bytes(chunk.data[:4], "big"))
        elif name == b"fcTL":
            first_is_pixels = first_is_pixels or not pixels
        elif name == b"eXIf":
            exif = bytes(chunk.data) if chunk.sound else exif
        elif name in (b"iTXt", b"zTXt", b"tEXt"):
            keyword = bytes(chunk.data[:80]).partition(b"\0")[0]
            if keyword == _XMP and name == b"iTXt" and chunk.sound:
                xmp = _international_text(bytes(chunk.data)) or xmp
            elif keyword == _RAW_EXIF and name != b"iTXt" and chunk.sound and not exif:
                exif = _raw_exif(bytes(chunk.data), compressed=name == b"zTXt")
        elif not name[0] & 0x20:  # critical: no reader may ignore it
            raise _critical(chunk)
    if not pixels:
        raise Refused(*_no_pixels(body))
    # If it appears twice or announces no frames, viewers do not take the file for an animation.
    count = frames[0] if len(frames) == 1 and 0 < frames[0] <= _MOST_FRAMES else 0
    return Essentials(
        b"".join([*kept, _chunk(b"IEND", b"")]),
        exif=exif,
        xmp=xmp,
        frames=count + (not first_is_pixels) if count else 1,
        animation=body,
    )


def fault(body: bytes, *, opened: bool) -> Refused:
    if _ends(body):
        return Refused(Verdict.CORRUPT, "PNG whose pixels cannot be decompressed")
    return Refused(Verdict.TRUNCATED, "PNG that ends before its last chunk")


def is_whole(body: bytes) -> bool:
    """Whether there are pixels for all rows. A compressed stream that ends too early is valid by
    itself."""
    header: tuple[int, ...] = _HEADER.unpack_from(body, _SIGNATURE_BYTES + 8)
    width, height, depth, colour, _, _, interlaced = header
    bits = depth * _CHANNELS[colour]
    missing: int = sum(
        (1 + (columns * bits + 7) // 8) * rows
        for columns, rows in _passes(width, height, interlaced=bool(interlaced))
    )
    stream = zlib.decompressobj()
    try:
        for chunk in _chunks(body):
            data: bytes | memoryview = chunk.data if chunk.name == b"IDAT" else b""
            while data and missing > 0:
                missing -= len(stream.decompress(data, _AT_ONCE_BYTES))
                data = stream.unconsumed_tail
    except zlib.error:
        return False
    return missing - len(stream.flush()) <= 0


def _passes(width: int, height: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """Columns and rows of each reduced image, without empty ones."""
    if not interlaced:
        return [(width, height)]
    edges = [
        ((width - left + across - 1) // across, (height - top + down - 1) // down)
        for left, top, across, down in _ADAM7
    ]
    return [(columns, rows) for columns, rows in edges if columns > 0 and rows > 0]


def _chunks(body: bytes) -> Iterator[_Chunk]:
    """The chunks of a file, in their order. If the file is cut off, the last chunk has the bytes
    that are there.

    Raises:
        Refused: more than ``MAX_CHUNKS``.
    """
    view, at = memoryview(body), _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(body):
            return
        name = body[at + 4 : at + 8]
        if not name.isalpha():
            return
        stop = at + 8 + int.from_bytes(view[at : at + 4], "big")
        data = view[at + 8 : stop]
        # The checksum of pixels is not used.
        sound = name == b"IDAT" or zlib.crc32(data, zlib.crc32(name)) == int.from_bytes(
            view[stop : stop + 4], "big"
        )
        yield _Chunk(name, at, stop + 4, data, sound and stop + 4 <= len(body))
        at = stop + 4
    raise Refused(Verdict.CORRUPT, f"PNG of more than {MAX_CHUNKS:,} chunks")


def _ends(body: bytes) -> bool:
    """Whether the file goes on to its last chunk, or to something that is not a chunk."""
    at = _SIGNATURE_BYTES
    for chunk in _chunks(body):
        if chunk.name == b"IEND":
            return True
        at = chunk.end
    return at + 8 <= len(body)


def _no_pixels(body: bytes) -> tuple[Verdict, str]:
    if _ends(body):
        return Verdict.CORRUPT, "PNG without pixels"
    return Verdict.TRUNCATED, "PNG that ends before its pixels"


def _header(chunk: _Chunk) -> tuple[int, ...]:
    if chunk.name == _APPLE and chunk.sound:
        raise Refused(
            Verdict.UNSUPPORTED_VARIANT, "PNG in the form that Apple's tools make for iOS"
        )
    if chunk.name != b"IHDR" or not chunk.sound or len(chunk.data) < _HEADER.size:
        cut = len(chunk.data) < chunk.end - chunk.start - _FRAME_BYTES
        raise Refused(
            Verdict.TRUNCATED if cut else Verdict.CORRUPT, "PNG whose header cannot be read"
        )
    return _HEADER.unpack(chunk.data[: _HEADER.size])


def _palette_entries(chunk: _Chunk) -> int:
    entries, rest = divmod(len(chunk.data), 3)
    if not chunk.sound or rest or not 1 <= entries <= 256:
        raise Refused(Verdict.CORRUPT, "PNG whose palette cannot be read")
    return entries


def _transparency(data: memoryview, header: tuple[int, ...], entries: int) -> bytes:
    """The transparency chunk in the form that Pillow needs; empty if it makes no sense. The file
    gives a colour in its own bits, of which only the lower ones count. Pillow compares the colour
    with samples of 8 bits."""
    _, _, depth, colour, *_ = header
    if colour == _PALETTE:
        return _chunk(b"tRNS", bytes(data)) if 1 <= len(data) <= entries else b""
    if colour not in _SAMPLES or len(data) != 2 * _SAMPLES[colour]:
        return b""
    most = (1 << depth) - 1
    scale = max(1, 255 // most)
    samples = struct.unpack(f">{_SAMPLES[colour]}H", data)
    return _chunk(b"tRNS", struct.pack(f">{len(samples)}H", *((s & most) * scale for s in samples)))


def _critical(chunk: _Chunk) -> Refused:
    if chunk.sound:
        name = chunk.name.decode("ascii")
        return Refused(Verdict.UNSUPPORTED_VARIANT, f"PNG that needs its chunk {name} understood")
    return Refused(Verdict.CORRUPT, "PNG with a broken chunk that counts")


def _international_text(data: bytes) -> bytes:
    """Text of an iTXt chunk: keyword, compressed or not, method, language, keyword again, text."""
    _, _, rest = data.partition(b"\0")
    fields = rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        return b""
    compressed, method = rest[:2]
    if not compressed:
        return fields[2]
    return b"" if method else _decompressed(fields[2])


def _raw_exif(data: bytes, *, compressed: bool) -> bytes:
    _, _, text = data.partition(b"\0")
    if compressed:
        text = _decompressed(text[1:]) if text[:1] == b"\0" else b""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _decompressed(data: bytes) -> bytes:
    """Empty if the text is broken or too large."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""
    return b"" if stream.unconsumed_tail else text


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum
