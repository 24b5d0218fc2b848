"""Pixels beside those of libvips, which decodes by its own code around the formats' libraries, and
GIF and TIFF by its own altogether. Every file is of the size that the model sees."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from PIL import Image

from tests.rigs.stages.image_files import (
    Chunk,
    Tiff,
    bmp,
    gif,
    packed,
    pixels_of_png,
    png,
    seen,
)

EDGE = 16
JPEG_LEVELS = 2
OVER_WHITE = 1
"""Two roundings of what shines through; opaque pixels are equal."""
RANDOM = np.random.default_rng(11)

Array = npt.NDArray[np.int64]


def second(body: bytes, *, deep_grey: bool = False) -> Array:
    """What libvips makes of a file, turned upright, over white: of 16 bits the high byte in colour,
    in grey (``deep_grey``) the nearest."""
    image: Any = pyvips.Image.new_from_buffer(body, "").autorot()
    deepest = {"uchar": 255, "ushort": 65_535}[image.format]
    pixels = image.numpy().reshape(EDGE, EDGE, -1).astype(np.int64)
    if deepest > 255:
        pixels = np.rint(pixels / 257).astype(np.int64) if deep_grey else pixels >> 8
    colours = pixels if image.bands in (1, 3) else pixels[..., :-1]
    if image.hasalpha():
        alpha = pixels[..., -1:] / 255
        colours = np.rint(colours * alpha + 255 * (1 - alpha)).astype(np.int64)
    return np.broadcast_to(colours, (EDGE, EDGE, 3))


def samples(bits: int, bands: int) -> Array:
    return RANDOM.integers(0, 1 << bits, (EDGE, EDGE, bands))


def stored(values: Array, bits: int, *, big_endian: bool = True) -> bytes:
    if bits in (8, 16, 32):
        return values.astype(f"{'>' if big_endian else '<'}u{bits // 8}").tobytes()
    rows = values.reshape(len(values), -1)
    return b"".join(packed([int(sample) for sample in row], bits) for row in rows)


def pngs() -> Iterator[tuple[str, bytes, bool]]:
    """Of every depth and colour type, with and without transparency by colour or entry."""
    kinds = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16))}
    kinds[6] = (4, (8, 16))
    for colour, (bands, depths) in kinds.items():
        for depth in depths:
            values = samples(depth, bands)
            extra = []
            if colour == 3:
                extra = [Chunk(b"PLTE", bytes(samples(8, 3).tobytes()[: 3 << depth]))]
            pixels = pixels_of_png(stored(row[None], depth) for row in values)
            name = f"colour {colour} of {depth}"
            yield name, png(EDGE, EDGE, depth, colour, *extra, pixels), depth == 16 and not colour
            if colour == 3:
                keys = Chunk(b"tRNS", bytes(range(0, 256, 256 >> depth)))
            elif colour in (0, 2) and depth < 16:  # of 16 bits it is ignored: docs/decoding.md
                keys = Chunk(b"tRNS", struct.pack(f">{bands}H", *(int(v) for v in values[3, 5])))
            else:
                continue
            yield (
                f"{name}, transparent",
                png(EDGE, EDGE, depth, colour, *extra, keys, pixels),
                False,
            )


@pytest.mark.parametrize(
    ("body", "deep_grey"), [each[1:] for each in pngs()], ids=[each[0] for each in pngs()]
)
def test_png(body: bytes, deep_grey: bool) -> None:
    assert np.abs(seen(body, EDGE) - second(body, deep_grey=deep_grey)).max() <= OVER_WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_png_interlaced(mode: str) -> None:
    image = Image.fromarray(samples(8, 4).astype(np.uint8), "RGBA").convert(mode)
    plain = as_file(image, "PNG")
    assert np.abs(seen(interlaced(image), EDGE) - seen(plain, EDGE)).max() == 0
    assert np.abs(seen(interlaced(image), EDGE) - second(interlaced(image))).max() <= OVER_WHITE


def interlaced(image: Image.Image) -> bytes:
    vips = pyvips.Image.new_from_buffer(as_file(image, "PNG"), "")
    return bytes(vips.pngsave_buffer(interlace=True))


def as_file(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


TIFFS = [
    # photometric, samples, bits, tags
    *((0, 1, bits, {}) for bits in (1, 2, 4, 8, 16)),
    *((1, 1, bits, {}) for bits in (1, 2, 4, 8, 16)),
    *((2, 3, bits, {}) for bits in (8, 16)),
    *((2, 4, bits, {338: (3, [2])}) for bits in (8, 16)),
    *((3, 1, bits, {320: (3, [257 * n for n in range(3 << bits)])}) for bits in (1, 2, 4)),
    (3, 1, 8, {320: (3, [257 * (7 * n % 256) for n in range(3 << 8)])}),
    (1, 2, 8, {338: (3, [2])}),
]


@pytest.mark.parametrize(("photometric", "bands", "bits", "tags"), TIFFS)
def test_tiff(photometric: int, bands: int, bits: int, tags: dict[int, Any]) -> None:
    """libvips reads the plainest form, with which all forms must agree: it misreads one plane."""
    values = samples(bits, bands)

    def of(big_endian: bool, planar: int, deflated: bool) -> bytes:
        parts = [values] if planar == 1 else np.split(values, bands, axis=-1)
        planes = [stored(each, bits, big_endian=big_endian) for each in parts]
        if deflated:
            planes = [zlib.compress(plane) for plane in planes]
        coding = {259: (3, [8 if deflated else 1])}
        return bytes(
            Tiff(
                *(EDGE, EDGE, planes, [bits] * bands, photometric, big_endian, planar),
                tags=tags | coding,
            )
        )

    expected = second(of(False, 1, False), deep_grey=photometric < 2)
    for form in product((False, True), (1, 2), (False, True)):
        if form[1] == 2 and (photometric, bands) == (1, 2):
            continue  # unsupported
        apart = np.abs(seen(of(*form), EDGE) - expected)
        assert apart.max() <= (OVER_WHITE if bands in (2, 4) else 0), form


@pytest.mark.parametrize("options", [{"tile": True, "tile_width": 16, "tile_height": 16}, {}])
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("predictor", ["none", "horizontal"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_as_libvips_writes_it(
    compression: str, predictor: str, bigtiff: bool, options: dict[str, Any]
) -> None:
    for values in (samples(8, 3).astype(np.uint8), samples(16, 3).astype(np.uint16)):
        body = bytes(
            pyvips.Image.new_from_array(values).tiffsave_buffer(
                compression=compression, predictor=predictor, bigtiff=bigtiff, **options
            )
        )
        assert np.array_equal(seen(body, EDGE), second(body))


SMOOTH = np.stack(np.meshgrid(*[np.linspace(0, 255, EDGE)] * 2), axis=-1)
"""Of noise, a decoder's way to spread colours over pixels would show."""


def photograph() -> Image.Image:
    pixels = np.dstack([SMOOTH, (SMOOTH[..., :1] + SMOOTH[..., 1:]) / 2])
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientations(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = as_file(photograph(), file_format, exif=exif, quality=95, lossless=True)
    levels = JPEG_LEVELS if file_format == "JPEG" else 0
    assert np.abs(seen(body, EDGE) - second(body)).max() <= levels


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 1])
def test_jpeg(mode: str, subsampling: str, progressive: bool, restarts: int) -> None:
    body = as_file(
        photograph().convert(mode),
        "JPEG",
        quality=85,
        subsampling=subsampling,
        progressive=progressive,
        restart_marker_rows=restarts,
    )
    assert np.abs(seen(body, EDGE) - second(body)).max() <= JPEG_LEVELS


def test_jpeg_of_rgb() -> None:
    body = as_file(photograph(), "JPEG", quality=90, keep_rgb=True)
    assert np.abs(seen(body, EDGE) - second(body)).max() <= JPEG_LEVELS


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp(mode: str, lossless: bool) -> None:
    image = photograph().convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(SMOOTH[..., 1].astype(np.uint8)))
    body = as_file(image, "WEBP", lossless=lossless, exact=True)
    assert np.abs(seen(body, EDGE) - second(body)).max() <= OVER_WHITE


CLEAR = b"!\xf9\4\1\0\0\3\0"


@pytest.mark.parametrize("box", [(0, 0, 16, 16), (3, 2, 5, 9), (0, 0, 16, 4), (0, 5, 2, 11)])
@pytest.mark.parametrize("extensions", [(), (CLEAR,)], ids=["opaque", "transparent"])
def test_gif(box: tuple[int, int, int, int], extensions: tuple[bytes, ...]) -> None:
    indices = RANDOM.integers(0, 100, box[2] * box[3]).tolist()
    palette = [tuple(int(v) for v in colour) for colour in RANDOM.integers(0, 256, (128, 3))]
    body = gif((EDGE, EDGE), box, indices, palette, *extensions)
    covered = np.zeros((EDGE, EDGE), bool)
    covered[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    assert np.array_equal(seen(body, EDGE)[covered], second(body)[covered])
    # libvips makes it black where nothing is transparent.
    assert (seen(body, EDGE)[~covered] == 255).all()


MASKS = {
    "BGRX": (0xFF0000, 0xFF00, 0xFF, 0),
    "BGRA": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    "RGBA": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "ABGR": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
}


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_bmp_of_32_bits_means_what_its_masks_say(masks: tuple[int, ...]) -> None:
    """libvips reads no BMP: a PNG of the same samples speaks for it."""
    values = samples(8, 4)
    if not masks[3]:
        values[..., 3] = 255
    words = np.zeros((EDGE, EDGE), np.int64)
    for band, mask in enumerate(masks):
        words |= (values[..., band] << max(0, mask.bit_length() - 8)) & mask
    body = bmp(EDGE, EDGE, 32, words[::-1].astype("<u4").tobytes(), compression=3, masks=masks)
    same = png(EDGE, EDGE, 8, 6, pixels_of_png(stored(row[None], 8) for row in values))
    assert np.abs(seen(body, EDGE) - second(same)).max() <= OVER_WHITE
