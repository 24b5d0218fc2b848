"""Files that viewers show and decoders stumble over, each odd in one way, and codes of those that
are not shown."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.rigs.stages.image_files import (
    PNG_SIGNATURE,
    Chunk,
    bmp,
    gif,
    packed,
    pillow_decoder,
    pixels_of_png,
    png,
    seen,
    segment,
    verdict,
    with_segments,
)

EDGE = 8
BLUE, RED, WHITE = (0, 0, 255), (255, 0, 0), (255, 255, 255)
UNSUPPORTED, CORRUPT, TRUNCATED = (
    "decode.unsupported_variant",
    "decode.corrupt",
    "decode.truncated",
)


def as_file(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


JPEG = as_file(Image.new("RGB", (EDGE, EDGE), RED), "JPEG", quality=100, subsampling=0)
SHOWN = seen(JPEG, EDGE)

BLUE_ROW = bytes(BLUE) * EDGE


def blue_png(*chunks: Chunk) -> bytes:
    return png(EDGE, EDGE, 8, 2, *chunks, pixels_of_png([BLUE_ROW] * EDGE))


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(b"iCCP", b"name\0\0" + zlib.compress(b"profile"), damaged=True),
        Chunk(b"iCCP", b"name\0\7what method is this"),
        Chunk(b"iCCP", b"no end"),
        Chunk(b"tEXt", b"Comment\0text", damaged=True),
        Chunk(b"zTXt", b"Comment\0\1of an unknown method"),
        Chunk(b"iTXt", b"Comment\0\1\0\0\0not compressed"),
        Chunk(b"gAMA", b"\0"),
        Chunk(b"cHRM", b"short"),
        Chunk(b"pHYs", b""),
        Chunk(b"sRGB", b""),
        Chunk(b"acTL", b"\0"),
        Chunk(b"fcTL", b"short"),
        Chunk(b"eXIf", b"MM\0*broken", damaged=True),
        Chunk(b"tRNS", b"\0"),
        Chunk(b"tRNS", struct.pack(">3H", *BLUE), damaged=True),
        Chunk(b"PLTE", b"of a length that is no multiple"),
        Chunk(b"teSt", bytes(99), damaged=True),
    ],
)
def test_a_broken_chunk_that_no_pixel_needs_is_passed_over(chunk: Chunk) -> None:
    assert np.array_equal(np.unique(seen(blue_png(chunk), EDGE)), [0, 255])
    behind = blue_png()
    end = behind.rindex(b"IEND") - 4
    assert np.array_equal(seen(behind[:end] + bytes(chunk) + behind[end:], EDGE)[0, 0], BLUE)


def test_a_png_that_is_cut_off_behind_its_pixels_is_shown() -> None:
    body = blue_png()
    assert np.array_equal(seen(body[: body.rindex(b"IEND") - 4] + b"\0\0", EDGE)[0, 0], BLUE)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (png(8, 8, 8, 3, pixels_of_png([bytes(8)] * 8)), CORRUPT),
        (png(8, 8, 8, 3, Chunk(b"PLTE", bytes(6), damaged=True), pixels_of_png([b"0"])), CORRUPT),
        (PNG_SIGNATURE + bytes(Chunk(b"IHDR", bytes(13), damaged=True)), CORRUPT),
        (blue_png()[:20], TRUNCATED),
        (blue_png()[:40], TRUNCATED),
        (png(8, 8, 8, 2, Chunk(b"IDAT", b"rubbish")), CORRUPT),
        (png(8, 8, 8, 2), CORRUPT),
        (blue_png(Chunk(b"NEWs", b"critical")), UNSUPPORTED),
        (PNG_SIGNATURE + bytes(Chunk(b"CgBI", bytes(4))) + blue_png()[8:], UNSUPPORTED),
    ],
)
def test_the_code_of_a_png_follows_from_its_chunks(body: bytes, code: str) -> None:
    assert verdict(body) == code


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (16, 0), (8, 2), (8, 4), (8, 6)])
def test_a_png_with_pixels_for_a_part_of_its_rows_is_corrupt(
    depth: int, colour: int, interlaced: bool
) -> None:
    """Its compressed stream is sound, and ends too early. Black or clear rows at the end are not
    the same thing."""
    bits = depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    edges = [(5, 5)]
    if interlaced:
        edges = [(1, 1), (1, 1), (2, 1), (1, 2), (3, 1), (2, 3), (5, 2)]
    stream = b"".join(bytes(1 + (columns * bits + 7) // 8) * rows for columns, rows in edges)

    def of(length: int) -> bytes:
        pixels = Chunk(b"IDAT", zlib.compress(stream[:length]))
        return png(5, 5, depth, colour, pixels, interlaced=interlaced)

    assert verdict(of(len(stream))) == "PNG"
    assert verdict(of(len(stream) + 9)) == "PNG"
    for length in (len(stream) - 1, len(stream) // 2, 1):
        assert verdict(of(length)) == CORRUPT


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_shade_counts_in_the_bits_of_the_file(depth: int) -> None:
    most = (1 << depth) - 1
    rows = [packed([most - 1] * EDGE if y < 4 else [most] * EDGE, depth) for y in range(EDGE)]
    key = Chunk(b"tRNS", struct.pack(">H", most | 0x100))  # of which the lower bits alone count
    shown = seen(png(EDGE, EDGE, depth, 0, key, pixels_of_png(rows)), EDGE)
    assert np.unique(shown[:4]).tolist() == [(most - 1) * 255 // most]
    assert np.unique(shown[4:]).tolist() == [255]
    key = Chunk(b"tRNS", struct.pack(">H", most - 1))
    shown = seen(png(EDGE, EDGE, depth, 0, key, pixels_of_png(rows)), EDGE)
    assert np.unique(shown[:4]).tolist() == [255]


def test_a_transparent_colour_counts_in_the_bits_of_the_file() -> None:
    key = Chunk(b"tRNS", struct.pack(">3H", 0xFF00, 0x100, 0x1FF))
    assert np.unique(seen(blue_png(key), EDGE)).tolist() == [255]


@pytest.mark.parametrize(
    "broken",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b"JFIF"),
        segment(0xEE, b"Adobe"),
        segment(0xEE, b"Adobe\0d"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"FPXR\0"),
        segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1"),
        segment(0xE1, b"Exif\0\0MM\0*\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe"),
        segment(0xFE, b""),
        segment(0xE5)[:3] + b"\0",  # a length of 0, which counts itself
    ],
)
def test_a_broken_segment_that_no_pixel_needs_is_passed_over(broken: bytes) -> None:
    assert np.array_equal(seen(with_segments(JPEG, broken), EDGE), SHOWN)


def test_a_segment_of_an_exif_with_one_number_for_a_fraction_is_passed_over() -> None:
    # Pillow reads the resolution where it opens a file.
    entry = struct.pack(">HHII", 0x011A, 3, 0, 1) + struct.pack(">HHIHH", 0x0128, 3, 1, 3, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entry + bytes(4)
    assert np.array_equal(seen(with_segments(JPEG, segment(0xE1, exif)), EDGE), SHOWN)


def test_colours_that_segments_tell_stay_told() -> None:
    """Adobe's segment says that three components are red, green and blue, without a transform."""
    plain = as_file(Image.new("RGB", (EDGE, EDGE), RED), "JPEG", quality=100, keep_rgb=True)
    assert np.abs(seen(plain, EDGE) - RED).max() <= 2
    assert b"Adobe" in plain


def lossless_jpeg() -> bytes:
    """Of process SOF3, 8 bits of grey: each difference from the sample before is 0, whose code is
    one bit, but for the first of all: 128 shows."""
    table = segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    frame = segment(0xC3, struct.pack(">BHHB3B", 8, 16 * EDGE, 16 * EDGE, 1, 1, 0x11, 0))
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return b"\xff\xd8" + table + frame + scan + bytes(2 * 16 * EDGE) * EDGE + b"\xff\xd9"


@pytest.mark.parametrize("fast", [False, True])
def test_a_lossless_jpeg_is_decoded_in_both_modes(fast: bool) -> None:
    with pillow_decoder(fast=fast) as decoder:
        image = decoder.decode(lossless_jpeg(), EDGE, EDGE)
    assert set(image.pixels) == {128}
    assert image.width == 16 * EDGE


def with_frame(marker: int, header: bytes) -> bytes:
    return b"\xff\xd8" + segment(marker, header) + segment(0xDA, bytes(6)) + b"\0\xff\xd9"


@pytest.mark.parametrize(
    ("marker", "header"),
    [
        (0xC1, struct.pack(">BHHB", 12, 8, 8, 1) + b"\1\x11\0"),
        (0xC0, struct.pack(">BHHB", 8, 8, 8, 2) + b"\1\x11\0\2\x11\0"),
        (0xC0, struct.pack(">BHHB", 8, 0, 8, 1) + b"\1\x11\0"),
        (0xC0, struct.pack(">BHHB", 8, 9, 65_501, 1) + b"\1\x11\0"),
        (0xC5, struct.pack(">BHHB", 8, 8, 8, 1) + b"\1\x11\0"),
        (0xF7, struct.pack(">BHHB", 8, 8, 8, 1) + b"\1\x11\0"),
    ],
)
def test_a_jpeg_of_a_kind_beyond_the_decoder_is_unsupported(marker: int, header: bytes) -> None:
    assert verdict(with_frame(marker, header)) == UNSUPPORTED


def test_a_damaged_jpeg_is_corrupt_though_the_library_names_no_reason() -> None:
    tables, frame = JPEG.index(b"\xff\xdb"), JPEG.index(b"\xff\xc0")
    assert verdict(JPEG[:tables] + JPEG[frame:]) == CORRUPT


def test_files_of_endless_empty_parts_are_refused() -> None:
    assert verdict(blue_png(*[Chunk(b"teSt")] * 100_001)) == CORRUPT
    assert verdict(blue_png(*[Chunk(b"teSt")] * 1_000)) == "PNG"
    assert verdict(with_segments(JPEG, *[segment(0xE5)] * 10_001)) == CORRUPT
    assert verdict(with_segments(JPEG, *[segment(0xE5)] * 1_000, b"\xff" * 99)) == "JPEG"


PALETTE = ((0, 0, 255), (255, 0, 0), (0, 160, 0))
CONTROL = b"!\xf9\4"


def test_what_the_first_frame_of_a_gif_does_not_cover_is_ground() -> None:
    shown = seen(gif((8, 8), (2, 1, 3, 4), [1] * 12, PALETTE), EDGE)
    covered = np.zeros((8, 8), bool)
    covered[1:5, 2:5] = True
    assert np.array_equal(np.unique(shown[covered], axis=0), [RED])
    assert np.array_equal(np.unique(shown[~covered], axis=0), [WHITE])


@pytest.mark.parametrize(
    "extension",
    [
        CONTROL[:2] + b"\0",
        CONTROL[:2] + b"\1\1\0",
        b"!\xff\x0bNETSCAPE2.0\1\1\0",
        b"!\xff\0",
        b"!\xfe\0",
        b"!\1\2ab\0",
        b"\0\0",
    ],
)
def test_a_broken_extension_of_a_gif_is_passed_over(extension: bytes) -> None:
    shown = seen(gif((8, 8), (0, 0, 8, 8), [1] * 64, PALETTE, extension), EDGE)
    assert np.array_equal(np.unique(shown.reshape(-1, 3), axis=0), [RED])


def test_the_last_control_extension_says_what_is_transparent() -> None:
    clear, opaque = CONTROL + b"\1\0\0\1\0", CONTROL + b"\0\0\0\1\0"
    assert seen(gif((8, 8), (0, 0, 8, 8), [1] * 64, PALETTE, opaque, clear), EDGE).min() == 255
    shown = seen(gif((8, 8), (0, 0, 8, 8), [1] * 64, PALETTE, clear, opaque), EDGE)
    assert np.array_equal(shown[0, 0], RED)


def test_the_code_of_a_gif_follows_from_its_blocks() -> None:
    whole = gif((8, 8), (0, 0, 8, 8), [1] * 64, PALETTE)
    assert verdict(whole[:-20]) == TRUNCATED
    assert verdict(whole[:300]) == TRUNCATED
    assert verdict(gif((8, 8), (0, 0, 8, 8), [1] * 9, PALETTE)) == CORRUPT
    assert verdict(whole[:397] + b";") == CORRUPT


MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bgra(alpha: int) -> bytes:
    return struct.pack("<4B", 255, 0, 0, alpha) * EDGE**2


def test_alpha_that_is_empty_everywhere_is_none() -> None:
    empty = bmp(EDGE, EDGE, 32, bgra(0), compression=3, masks=MASKS)
    assert np.array_equal(seen(empty, EDGE)[0, 0], BLUE)
    half = bmp(EDGE, EDGE, 32, bgra(0)[:128] + bgra(255)[128:], compression=3, masks=MASKS)
    shown = seen(half, EDGE)
    assert np.array_equal(shown[-1, 0], WHITE)
    assert np.array_equal(shown[0, 0], BLUE)


@pytest.mark.parametrize(
    "body",
    [
        bmp(8, 8, 16, bytes(128), compression=3, masks=(0xF00, 0xF0, 0xF, 0xF000)),
        bmp(8, 8, 32, bytes(256), compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF, 0)),
        bmp(8, 8, 32, bytes(256), compression=6, masks=MASKS),
        bmp(8, 8, 0, JPEG, compression=4),
        bmp(8, 8, 0, blue_png(), compression=5),
        bmp(8, 8, 2, bytes(16)),
        bmp(8, 8, 8, bytes(64), header_bytes=16),
        bmp(8, 8, 1, bytes(32), compression=3, header_bytes=64),
        bmp(8, 8, 24, bytes(32), compression=4, header_bytes=64),
    ],
)
def test_a_bmp_of_a_kind_beyond_the_decoder_is_unsupported(body: bytes) -> None:
    assert verdict(body) == UNSUPPORTED


def test_16_bits_with_transparency_are_unsupported_unless_all_are_alike() -> None:
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)

    def of(*pixels: int) -> bytes:
        return bmp(8, 8, 16, struct.pack("<64H", *(pixels * 64)[:64]), compression=3, masks=masks)

    for shade in (0x001F, 0x801F):
        assert np.array_equal(seen(of(shade), EDGE)[0, 0], BLUE)
    assert verdict(of(0x001F, 0x801F)) == UNSUPPORTED


def test_the_code_of_a_bmp_follows_from_its_header() -> None:
    whole = bmp(8, 8, 24, bytes(192))
    assert verdict(whole) == "BMP"
    assert verdict(whole[:-9]) == TRUNCATED
    assert verdict(whole[:30]) == TRUNCATED
    assert verdict(bmp(8, 8, 77, bytes(192))) == CORRUPT
    assert verdict(bmp(8, 8, 32, bytes(256), compression=3, masks=(5, 5, 5, 0))) == CORRUPT


def test_a_webp_that_is_cut_off_in_its_metadata_is_shown() -> None:
    image = Image.new("RGB", (EDGE, EDGE), BLUE)
    body = as_file(image, "WEBP", lossless=True, exif=b"Exif\0\0MM\0*" + bytes(200))
    assert np.array_equal(seen(body[:-100], EDGE)[0, 0], BLUE)
    assert verdict(as_file(image, "WEBP", lossless=True)[:-9]) == TRUNCATED


def test_a_webp_whose_frame_promises_more_than_its_pixels_is_shown() -> None:
    body = bytearray(as_file(Image.new("RGB", (EDGE, EDGE), BLUE), "WEBP", lossless=True))
    body[4:8] = (len(body) + 500).to_bytes(4, "little")
    assert np.array_equal(seen(bytes(body), EDGE)[0, 0], BLUE)


def test_a_broken_exif_block_in_an_avif_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    body = as_file(Image.new("RGB", (EDGE, EDGE), BLUE), "AVIF", exif=exif, quality=100)
    at = body.index(b"MM\0*", body.index(b"mdat"))
    broken = body[:at] + b"no" + body[at + 2 :]
    assert np.array_equal(seen(broken, EDGE), seen(body, EDGE))


def test_an_avif_that_is_cut_off_is_truncated() -> None:
    body = as_file(Image.new("RGB", (64, 64), BLUE), "AVIF")
    assert verdict(body[:-20]) == TRUNCATED


def test_the_pixel_cap_is_met_to_the_pixel_where_it_is_odd() -> None:
    body = as_file(Image.new("L", (9, 9)), "PNG")
    with pillow_decoder(max_pixels=81) as decoder:
        decoder.decode(body, EDGE, EDGE)
