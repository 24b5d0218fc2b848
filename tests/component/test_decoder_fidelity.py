"""Both modes against their reference: the transformers CLIP image processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from pipeline.decode.policy import DecodePolicy
from pipeline.records import ImageGeometry, Pixels
from tests.rigs.stages.decoding import (
    Decoding,
    OpenAiReference,
    Reference,
    as_file,
    decoding,
    enlarged,
    noise,
    photos,
)

GEOMETRIES = (ImageGeometry(224, 224), ImageGeometry(336, 336), ImageGeometry(256, 224))

# Where rounding could go wrong: single pixels, strips, sizes around the model's and twice it, odd
# offsets, and heights around twice the width, where Pillow changes the order of its passes.
SIZES = (
    *((1, 1), (2, 1), (1, 2), (3, 2), (1, 60), (60, 1), (7, 5), (13, 400), (1000, 37)),
    *((224, 224), (225, 224), (224, 225), (223, 224), (224, 447), (449, 224), (448, 448)),
    *((333, 500), (500, 333), (640, 480), (479, 641), (801, 1203), (1211, 677)),
    *((300, 599), (300, 601), (464, 1204), (500, 949), (500, 951)),
)

JPEG_SIZES = (
    *((1, 1), (7, 5), (60, 1), (224, 224), (369, 368), (370, 371), (500, 375), (375, 500)),
    *((640, 480), (463, 879), (460, 966), (801, 1203), (1203, 801), (912, 700), (450, 1800)),
)
"""Around the sizes, too, from where a JPEG is resampled by the quicker way."""

WORST_OF_FAST = 24
"""Of 255, in noise: what `fast` leaves out of it is much. In photographs it is half of that."""

AssertClose = Callable[[list[bytes], ImageGeometry], None]


@pytest.fixture(scope="module")
def references() -> dict[ImageGeometry, Reference]:
    return {geometry: Reference(geometry) for geometry in GEOMETRIES}


@pytest.fixture(scope="module")
def strict() -> Iterator[Decoding]:
    with decoding(DecodePolicy(processes=2)) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def fast() -> Iterator[Decoding]:
    with decoding(DecodePolicy(mode="fast", processes=2)) as decoder:
        yield decoder


def distances(
    decoder: Decoding,
    reference: Reference | OpenAiReference,
    bodies: list[bytes],
    geometry: ImageGeometry,
) -> Iterator[tuple[str, Pixels]]:
    """Name and distance from the reference, pixel by pixel, of each image."""
    for image, body in zip(decoder.all(bodies, geometry), bodies, strict=True):
        expected = reference.pixels(body)
        assert image.pixels.shape == expected.shape == (geometry.crop, geometry.crop, 3)
        apart = np.abs(image.pixels.astype(int) - expected)
        facts = image.facts
        yield f"{facts.format} of {facts.width}x{facts.height}", apart.astype(np.uint8)


@pytest.fixture(scope="module")
def assert_close(strict: Decoding, references: dict[ImageGeometry, Reference]) -> AssertClose:
    def check(bodies: list[bytes], geometry: ImageGeometry) -> None:
        for name, apart in distances(strict, references[geometry], bodies, geometry):
            assert apart.max() <= 1, f"{name}: {apart.max()}"

    return check


@pytest.mark.parametrize("geometry", GEOMETRIES[:2], ids=lambda each: f"{each.resize}")
def test_photographs_are_within_1_of_the_reference(
    geometry: ImageGeometry, assert_close: AssertClose
) -> None:
    bodies = photos()
    assert bodies
    assert_close(bodies, geometry)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda each: f"{each.resize}-{each.crop}")
def test_sizes_at_the_edge_of_rounding_are_within_1_of_the_reference(
    geometry: ImageGeometry, assert_close: AssertClose
) -> None:
    bodies = [as_file(noise(width, height)) for width, height in SIZES]
    assert_close(bodies, geometry)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_are_within_1_of_the_reference(
    orientation: int, assert_close: AssertClose
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    bodies = [
        as_file(noise(width, height), "PNG", exif=exif)
        for width, height in ((301, 200), (224, 225), (90, 400))
    ]
    assert_close(bodies, GEOMETRIES[0])


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P"])
def test_other_modes_are_within_1_of_the_reference(mode: str, assert_close: AssertClose) -> None:
    source = noise(301, 200, "RGB" if mode == "P" else mode)
    body = as_file(source.quantize(64) if mode == "P" else source)
    assert_close([body], GEOMETRIES[0])


def test_cmyk_is_within_1_of_the_reference(assert_close: AssertClose) -> None:
    body = as_file(noise(301, 200).convert("CMYK"), "JPEG", quality=95)
    assert_close([body], GEOMETRIES[0])


MARGINS = ((500, 413), (413, 500), (500, 412), (640, 480), (333, 500), (1000, 37), (227, 224))
"""Sizes whose resized margin is odd and even, and odd on both sides in the geometry of 256."""


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda each: f"{each.resize}-{each.crop}")
@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_the_crop_of_openai_gives_the_pixels_of_openai_clip(
    mode: Literal["strict", "fast"], geometry: ImageGeometry
) -> None:
    reference = OpenAiReference(geometry)
    bodies = [as_file(noise(*size)) for size in MARGINS]
    with decoding(DecodePolicy(mode=mode, crop="openai", processes=1)) as decoder:
        exact = list(distances(decoder, reference, bodies, geometry))
    for name, apart in exact:
        assert apart.max() <= (WORST_OF_FAST if mode == "fast" else 0), f"{name}: {apart.max()}"


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_an_extreme_shape_is_decoded_without_being_resized_as_a_whole(
    size: tuple[int, int], strict: Decoding, fast: Decoding
) -> None:
    # The reference would need 9 GB for it. Between two shades that meet in the middle, the model
    # sees one pixel of each, blown up; far from the edge they are themselves.
    width, height = size
    strip = np.zeros((height, width, 3), np.uint8)
    strip.reshape(-1, 3)[30_000:] = 255
    for decoder in (strict, fast):
        (image,) = decoder.all([as_file(Image.fromarray(strip))], GEOMETRIES[0])
        along = image.pixels if height > width else image.pixels.transpose(1, 0, 2)
        assert (image.facts.width, image.facts.height) == size
        assert along[0].max() == 0
        assert along[-1].min() == 255
        assert np.array_equal(along, np.broadcast_to(along[:, :1], along.shape))
        assert image.facts.cropped_share == pytest.approx(1 - 1 / 60_000)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda each: f"{each.resize}-{each.crop}")
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_of_any_shape_are_within_1_of_the_reference(
    mode: str, geometry: ImageGeometry, assert_close: AssertClose
) -> None:
    bodies = [as_file(noise(*size).convert(mode), "JPEG", quality=90) for size in JPEG_SIZES]
    assert_close(bodies, geometry)


@pytest.mark.parametrize("size", [(640, 480), (1080, 1920), (1600, 1200)])
def test_photographs_of_cameras_are_within_1_of_the_reference(
    size: tuple[int, int], assert_close: AssertClose
) -> None:
    bodies = [as_file(enlarged(body, *size), "JPEG", quality=88) for body in photos()[:12]]
    assert_close(bodies, GEOMETRIES[0])


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "BMP"])
def test_photographs_in_other_formats_are_within_1_of_the_reference(
    file_format: str, assert_close: AssertClose
) -> None:
    bodies = [as_file(enlarged(body, 640, 480), file_format) for body in photos()[:6]]
    assert_close(bodies, GEOMETRIES[0])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda each: f"{each.resize}-{each.crop}")
def test_fast_sees_any_shape_where_the_reference_sees_it(
    geometry: ImageGeometry, fast: Decoding, references: dict[ImageGeometry, Reference]
) -> None:
    # Smooth pictures: a square in the wrong place, or turned, would be far off.
    sizes = (*SIZES[:8], *JPEG_SIZES, (1800, 1350), (2401, 1201), (897, 899), (900, 2000))
    bodies = [
        as_file(noise(5, 5).resize(size, Image.Resampling.BICUBIC), file_format)
        for size in sizes
        for file_format in ("JPEG", "PNG")
    ]
    for name, apart in distances(fast, references[geometry], bodies, geometry):
        assert apart.max() <= 4, f"{name}: {apart.max()}"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_fast_turns_images_upright(
    orientation: int, fast: Decoding, references: dict[ImageGeometry, Reference]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = noise(5, 5).resize((1800, 910), Image.Resampling.BICUBIC)
    body = as_file(picture, "JPEG", exif=exif, quality=90)
    ((_, apart),) = distances(fast, references[GEOMETRIES[0]], [body], GEOMETRIES[0])
    assert apart.max() <= 4


def test_fast_moves_the_pixels_of_large_photographs_a_little(
    fast: Decoding, references: dict[ImageGeometry, Reference]
) -> None:
    bodies = [as_file(enlarged(body, 1920, 1080), "JPEG", quality=88) for body in photos()[:12]]
    for name, apart in distances(fast, references[GEOMETRIES[0]], bodies, GEOMETRIES[0]):
        assert apart.max() <= WORST_OF_FAST, f"{name}: {apart.max()}"
        assert apart.mean() <= 1, f"{name}: {apart.mean()}"
