"""PDQ hashes are those of the reference implementation: expected ones were computed with pdqhash
0.2.8, which has the reference's code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.adapters.decode.pdq import PdqHasher

Pixels = npt.NDArray[np.uint8]


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def waves() -> Pixels:
    y, x = np.mgrid[0:200, 0:333]
    red, green = 127 + 100 * np.sin(x / 17 + y / 29), 127 + 100 * np.cos(x / 41)
    return np.stack([red, green, (x * y) % 256], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            lambda: noise(61, 97),
            ("22d3f80659708680ac9cef05a41cf9d37677703ce04296ef464ea7f7ccbc8de0", 100),
        ),
        (waves, ("fde9bd85b5a5b695b4c0b695bde0a495b540ac95b5c0a295f5c0aa95003f556a", 100)),
        (lambda: noise(3, 5), ("00" * 32, 0)),
    ],
    ids=["noise", "waves", "a few pixels"],
)
def test_hash_and_quality_are_those_of_the_reference(
    made: Callable[[], Pixels], expected: tuple[str, int]
) -> None:
    bits, quality = PdqHasher().of_pixels(made())
    assert (bits.hex(), quality) == expected


@pytest.mark.parametrize(("width", "height"), [(513, 90), (640, 480), (90, 1501)])
def test_of_a_large_picture_the_pixels_of_the_reference_are_taken(width: int, height: int) -> None:
    pixels = noise(height, width)
    taken = pixels[np.arange(512) * height // 512][:, np.arange(512) * width // 512]
    hasher = PdqHasher()
    assert hasher(Image.fromarray(pixels)) == hasher.of_pixels(taken)


def test_a_mirrored_picture_has_another_hash() -> None:
    hasher = PdqHasher()
    assert hasher.of_pixels(waves()) != hasher.of_pixels(waves()[:, ::-1])
