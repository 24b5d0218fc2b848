"""Valid pixels with metadata of any content: the model sees the same as without."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from PIL import Image, TiffTags

from tests.rigs.stages.image_files import Chunk, Tiff, bmp, gif, pixels_of_png, png, seen, segment

EDGE = 8
PICTURE = np.random.default_rng(7).integers(0, 256, (EDGE, EDGE, 3), np.uint8)
"""Whose corners differ, so that it shows when it is turned."""

FEW = settings(max_examples=60)
ANYTHING = st.binary(max_size=60)

ANCILLARY = (
    *(b"acTL", b"bKGD", b"caNv", b"cHRM", b"cICP", b"cLLI", b"dSIG", b"eXIf", b"fcTL", b"fdAT"),
    *(b"gAMA", b"gIFg", b"gIFt", b"gIFx", b"hIST", b"iCCP", b"iTXt", b"mDCV", b"oFFs", b"pCAL"),
    *(b"pHYs", b"sBIT", b"sCAL", b"sPLT", b"sRGB", b"sTER", b"tEXt", b"tIME", b"tRNS", b"vpAg"),
    *(b"zTXt", b"prVW", b"mkBF", b"PLTE"),
)
"""Of the specification, its extensions and common programs; a palette is a hint in colour."""

KEYWORDS = (b"", b"Comment\0", b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"exif\0")

SEGMENTS = (
    *(b"", b"JFIF\0", b"JFXX\0", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0II*\0"),
    *(b"ICC_PROFILE\0", b"FPXR\0", b"Photoshop 3.0\x008BIM", b"Adobe_CM", b"Ducky", b"META\0"),
    *(b"JP\0\0", b"AROT", b"http://ns.adobe.com/xmp/extension/\0"),
)

METADATA_TAGS = sorted(
    # None of pixels: shape, coding, colours, strips, tiles, JPEG's tables; no orientation.
    set(TiffTags.TAGS_V2)
    - set(range(256, 260))
    - {262, 266, 273, 274, 277, 278, 279, 284, 317}
    - {320, 322, 323, 324, 325, 332, 338, 339, 347, 0xBC01, *range(512, 522), *range(529, 533)}
    - {292, 293}
)


def as_file(file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, file_format, **options)
    return file.getvalue()


def shows(body: bytes, plain: bytes) -> None:
    assert np.array_equal(seen(body, EDGE), seen(plain, EDGE))


@FEW
@given(
    st.lists(
        st.builds(
            Chunk,
            st.sampled_from(ANCILLARY),
            st.tuples(st.sampled_from(KEYWORDS), ANYTHING).map(b"".join),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.integers(0, 4),
)
def test_chunks_of_a_png(chunks: list[Chunk], before: int) -> None:
    opaque = np.dstack([PICTURE, np.full((EDGE, EDGE), 255, np.uint8)])
    pixels = pixels_of_png(row.tobytes() for row in opaque)
    plain = png(EDGE, EDGE, 8, 6, pixels)
    shows(png(EDGE, EDGE, 8, 6, *chunks[:before], pixels, *chunks[before:]), plain)


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*range(0xE0, 0xF0), 0xFE]), st.sampled_from(SEGMENTS), ANYTHING
        ).map(lambda parts: segment(parts[0], parts[1] + parts[2])),
        max_size=4,
    ),
    st.binary(max_size=6).map(lambda rest: segment(0xEE, b"Adobe" + rest)),
)
def test_segments_of_a_jpeg(segments: list[bytes], adobe: bytes) -> None:
    plain = as_file("JPEG", quality=90)
    behind_jfif = 2 + 18
    shows(plain[:behind_jfif] + b"".join([*segments, adobe]) + plain[behind_jfif:], plain)
    shows(plain[:2] + b"".join([adobe, *segments]) + plain[2:], plain)


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"ICCP", b"EXIF", b"XMP ", b"META", b"\0\0\0\0"]),
            ANYTHING,
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 255),
    st.integers(0, 30),
)
def test_chunks_of_a_webp(chunks: list[tuple[bytes, bytes, bool]], flags: int, cut: int) -> None:
    assume(not flags & 0x12)  # an animation, alpha
    plain = as_file("WEBP", lossless=True)
    extended = struct.pack("<BBBB", flags, 0, 0, 0) + (EDGE - 1).to_bytes(3, "little") * 2
    parts = [b"VP8X" + struct.pack("<I", 10) + extended]
    parts += [_riff(name, data) for name, data, first in chunks if first]
    parts += [plain[12:]]
    parts += [_riff(name, data) for name, data, first in chunks if not first]
    whole = b"WEBP" + b"".join(parts)
    tail = sum(len(_riff(name, data)) for name, data, first in chunks if not first)
    body = b"RIFF" + struct.pack("<I", len(whole)) + whole
    shows(body[: len(body) - min(cut, tail)], plain)


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


PALETTE = [tuple(map(int, colour)) for colour in PICTURE.reshape(-1, 3)]


def _blocks(data: bytes) -> bytes:
    return b"".join(
        bytes([len(data[at : at + 9])]) + data[at : at + 9] for at in range(0, len(data), 9)
    )


@FEW
@given(
    st.lists(
        st.tuples(st.integers(0, 255), ANYTHING).map(
            lambda parts: bytes([0x21, parts[0]]) + _blocks(parts[1]) + b"\0"
        ),
        max_size=4,
    )
)
def test_extensions_of_a_gif(extensions: list[bytes]) -> None:
    # What is transparent is said by one of them alone, and that is no metadata.
    opaque = b"!\xf9\4\0\0\0\0\0"
    indices = range(EDGE * EDGE)
    screen, box = (EDGE, EDGE), (0, 0, EDGE, EDGE)
    plain = gif(screen, box, indices, PALETTE)
    shows(gif(screen, box, indices, PALETTE, *extensions, opaque), plain)


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(METADATA_TAGS),
            st.one_of(
                ANYTHING,
                st.tuples(
                    st.sampled_from([3, 4]),
                    st.lists(st.integers(0, 65_535), min_size=1, max_size=9),
                ),
            ),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_tags_of_a_tiff(
    tags: list[tuple[int, bytes | tuple[int, list[int]]]], big_endian: bool
) -> None:
    def of(tags: dict[int, bytes | tuple[int, list[int]]]) -> bytes:
        return bytes(Tiff(EDGE, EDGE, [PICTURE.tobytes()], [8, 8, 8], 2, big_endian, tags={**tags}))

    shows(of(dict(tags)), of({}))


@FEW
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4),
    st.binary(min_size=84, max_size=84),
)
def test_fields_of_a_bmp(size: int, reserved: int, sizes: list[int], profile: bytes) -> None:
    plain = bmp(EDGE, EDGE, 24, PICTURE[::-1, :, ::-1].tobytes())
    body = bytearray(plain)
    struct.pack_into("<II", body, 2, size, reserved)
    # The pixels' size, resolution and how many colours matter; colours and profile from 54 on.
    struct.pack_into("<3I", body, 34, *sizes[:3])
    struct.pack_into("<I", body, 50, sizes[3])
    body[54:138] = profile
    shows(bytes(body), plain)


@FEW
@given(st.binary(min_size=1, max_size=20), st.integers(0, 40))
def test_the_exif_block_of_an_avif(content: bytes, place: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker" * 9
    plain = as_file("AVIF", exif=exif, quality=100)
    begins = plain.index(b"MM\0*", plain.index(b"mdat"))
    at = begins + place
    shows(plain[:at] + content + plain[at + len(content) :], plain)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_sound_orientation_still_counts(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn: Callable[[np.ndarray], np.ndarray] = [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::-1],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a, -1),
        lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        lambda a: np.rot90(a),
    ][orientation - 1]
    options = {"lossless": True} if file_format == "WEBP" else {"quality": 95}
    plain = seen(as_file(file_format, **options), EDGE)
    shown = seen(as_file(file_format, exif=exif, **options), EDGE)
    assert np.array_equal(shown, turn(plain))


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0"
PIXELS = pixels_of_png(row.tobytes() for row in PICTURE)


def of_png(*chunks: Chunk) -> bytes:
    return png(EDGE, EDGE, 8, 2, *chunks)


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (as_file("JPEG", xmp=XMP), as_file("JPEG")),
        (as_file("WEBP", xmp=XMP, lossless=True), of_png(PIXELS)),
        (as_file("TIFF", tiffinfo={700: XMP}), of_png(PIXELS)),
        (of_png(Chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), PIXELS), of_png(PIXELS)),
        (
            of_png(
                PIXELS,
                Chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
            ),
            of_png(PIXELS),
        ),
        (
            of_png(
                Chunk(
                    b"zTXt",
                    b"Raw profile type exif\0\0"
                    + zlib.compress(b"\nexif\n      26\n" + EXIF.hex().encode()),
                ),
                PIXELS,
            ),
            of_png(PIXELS),
        ),
    ],
    ids=["JPEG", "WebP", "TIFF", "PNG", "PNG, compressed", "PNG, as ImageMagick writes it"],
)
def test_an_orientation_in_text_still_counts(body: bytes, plain: bytes) -> None:
    assert np.array_equal(seen(body, EDGE), seen(plain, EDGE)[::-1, ::-1])
