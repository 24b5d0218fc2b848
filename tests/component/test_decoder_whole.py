"""Whole pictures for people, from the same sandbox as the model's squares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import DecodedImage, ImageGeometry
from tests.rigs.stages.decoding import as_file, clouds, noise

pytestmark = pytest.mark.component

EDGE = 160


class Pool:
    def __init__(self, runner: asyncio.Runner, decoder: SandboxedDecoder) -> None:
        self._runner = runner
        self.decoder = decoder

    def whole(self, body: bytes, edge: int = EDGE) -> DecodedImage:
        return self._runner.run(self.decoder.whole(body, edge))

    def square(self, body: bytes, edge: int) -> DecodedImage:
        return self._runner.run(self.decoder.decode(body, ImageGeometry(edge, edge)))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    policy = DecodePolicy(processes=1, max_megapixels=4)
    decoder = SandboxedDecoder(policy, MemoryMeter(IMAGE_METRICS))
    with asyncio.Runner() as runner:
        runner.run(decoder.start())
        yield Pool(runner, decoder)
        runner.run(decoder.close())


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((640, 480), (160, 120)),
        ((480, 640), (120, 160)),
        ((160, 160), (160, 160)),
        ((40, 30), (40, 30)),
        ((1, 3000), (1, 160)),
        ((3000, 1), (160, 1)),
    ],
)
def test_the_whole_picture_fits_and_small_ones_are_not_enlarged(
    pool: Pool, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    for file_format in ("PNG", "JPEG"):
        image = pool.whole(as_file(noise(*size), file_format))
        assert image.pixels.shape == (seen[1], seen[0], 3)
        assert (image.facts.width, image.facts.height) == size
        assert image.facts.cropped_share == 0.0


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_the_pixels_are_those_of_the_picture(pool: Pool, file_format: str) -> None:
    picture = clouds(1, 1280, 720)
    body = as_file(picture, file_format)
    expected = np.asarray(picture.resize((160, 90), Image.Resampling.BICUBIC), np.int16)
    apart = np.abs(pool.whole(body).pixels - expected)
    assert apart.mean() < 3


def test_a_picture_on_its_side_is_turned(pool: Pool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = as_file(clouds(2, 640, 320), "JPEG", exif=exif)
    assert pool.whole(body).pixels.shape == (160, 80, 3)


def test_squares_and_whole_pictures_come_from_the_same_process(pool: Pool) -> None:
    body = as_file(clouds(3, 200, 200))
    before = pool.square(body, 32).pixels
    pool.whole(body)
    assert np.array_equal(pool.square(body, 32).pixels, before)


def test_the_same_limits_hold(pool: Pool) -> None:
    with pytest.raises(Reject, match=r"decode\.too_large"):
        pool.whole(as_file(Image.new("L", (4000, 4000))))
    with pytest.raises(Reject, match=r"decode\.unsupported_format"):
        pool.whole(b"no image")
