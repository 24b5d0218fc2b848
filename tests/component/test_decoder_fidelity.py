"""`strict` against its reference: the transformers CLIP image processor."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.adapters.decoders import SandboxedDecoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode import DecodePolicy
from pipeline.records import DecodedImage, ImageGeometry, Pixels

GEOMETRIES = (ImageGeometry(224, 224), ImageGeometry(336, 336), ImageGeometry(256, 224))

# Where rounding could go wrong: single pixels, strips, sizes around the model's and twice it, odd
# offsets, and heights around twice the width, where Pillow changes the order of its passes.
SIZES = (
    *((1, 1), (2, 1), (1, 2), (3, 2), (1, 60), (60, 1), (7, 5), (13, 400), (1000, 37)),
    *((224, 224), (225, 224), (224, 225), (223, 224), (224, 447), (449, 224), (448, 448)),
    *((333, 500), (500, 333), (640, 480), (479, 641), (801, 1203), (1211, 677)),
    *((300, 599), (300, 601), (464, 1204), (500, 949), (500, 951)),
)

Reference = Callable[[bytes, ImageGeometry], Pixels]
Decode = Callable[[list[bytes], ImageGeometry], list[DecodedImage]]
AssertClose = Callable[[list[bytes], ImageGeometry], None]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Decoded by the plainest code: whole image, upright, over white, then the processor."""
    from transformers import CLIPImageProcessorPil

    processors = {
        geometry: CLIPImageProcessorPil(
            size={"shortest_edge": geometry.resize},
            crop_size={"height": geometry.crop, "width": geometry.crop},
            do_rescale=False,
            do_normalize=False,
        )
        for geometry in GEOMETRIES
    }

    def process(body: bytes, geometry: ImageGeometry) -> Pixels:
        with Image.open(io.BytesIO(body)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        values = processors[geometry](flat.convert("RGB"), return_tensors="np")["pixel_values"]
        pixels: Pixels = np.asarray(values)[0].transpose(1, 2, 0).astype(np.uint8)
        return pixels

    return process


@pytest.fixture(scope="module")
def decode() -> Iterator[Decode]:
    decoder = SandboxedDecoder(DecodePolicy(processes=2), PrometheusMeter())
    with asyncio.Runner() as runner:

        async def gather(bodies: list[bytes], geometry: ImageGeometry) -> list[DecodedImage]:
            return await asyncio.gather(*(decoder.decode(body, geometry) for body in bodies))

        runner.run(decoder.start())
        yield lambda bodies, geometry: runner.run(gather(bodies, geometry))
        runner.run(decoder.close())


@pytest.fixture(scope="module")
def assert_close(decode: Decode, reference: Reference) -> AssertClose:
    def check(bodies: list[bytes], geometry: ImageGeometry) -> None:
        for image, body in zip(decode(bodies, geometry), bodies, strict=True):
            expected = reference(body, geometry)
            assert image.pixels.shape == expected.shape == (geometry.crop, geometry.crop, 3)
            distance = int(np.abs(image.pixels.astype(int) - expected).max())
            assert distance <= 1, f"{image.width}x{image.height}: {distance}"

    return check


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """The hardest content: neighbours that share nothing, over the whole range."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    seeded = np.random.default_rng(width * 100_003 + height)
    shape = (height, width, channels) if channels > 1 else (height, width)
    shades = np.array([0, 1, 127, 254, 255], np.uint8)
    return Image.fromarray(shades[seeded.integers(0, len(shades), shape)])


def as_file(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def photos() -> list[bytes]:
    """Photographs where the test data is at hand, else smooth pictures in JPEG."""
    data = os.environ.get("CLIPSTREAM_TEST_DATA")
    if data is not None:
        return [path.read_bytes() for path in sorted(Path(data, "photos").glob("*.jpg"))]
    sizes = ((640, 480), (333, 500), (1280, 720))
    return [as_file(noise(16, 16).resize(size, Image.Resampling.BICUBIC), "JPEG") for size in sizes]


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


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_an_extreme_shape_is_decoded_without_being_resized_as_a_whole(
    size: tuple[int, int], decode: Decode
) -> None:
    # The reference would need 9 GB for it. Between two shades that meet in the middle, the model
    # sees one pixel of each, blown up; far from the edge they are themselves.
    width, height = size
    strip = np.zeros((height, width, 3), np.uint8)
    strip.reshape(-1, 3)[30_000:] = 255
    (image,) = decode([as_file(Image.fromarray(strip))], GEOMETRIES[0])
    along = image.pixels if height > width else image.pixels.transpose(1, 0, 2)
    assert (image.width, image.height) == size
    assert along[0].max() == 0
    assert along[-1].min() == 255
    assert np.array_equal(along, np.broadcast_to(along[:, :1], along.shape))
    assert image.cropped_share == pytest.approx(1 - 1 / 60_000)
