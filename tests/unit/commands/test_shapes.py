"""The demo's images are what they claim to be, and the same for everyone."""

from __future__ import annotations

import io
import itertools
import warnings
from collections import Counter
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import CODES
from workers.demo.odd_images import odd_images, pixel_bomb
from workers.demo.shapes import (
    COLOURS,
    LABELS,
    NOTHING,
    SIDE_PX,
    DemoImage,
    coverage,
    demo_images,
    fill_colour,
    shape_image,
)

SMALL_PX = (120, 200)


@pytest.fixture(scope="module")
def images() -> list[DemoImage]:
    return list(demo_images(5, len(LABELS), SMALL_PX))


@pytest.fixture(scope="module")
def odd() -> dict[str, DemoImage]:
    return {image.key.removeprefix("odd/"): image for image in odd_images(5)}


def opened(image: DemoImage) -> Image.Image:
    return Image.open(io.BytesIO(image.body))


def test_the_same_seed_makes_the_same_bytes() -> None:
    once, again = (list(demo_images(9, 12, SMALL_PX)) for _ in range(2))
    assert once == again
    assert list(odd_images(9)) == list(odd_images(9))


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    assert list(itertools.islice(demo_images(9, 30, SMALL_PX), 5)) == list(
        demo_images(9, 5, SMALL_PX)
    )


def test_another_seed_makes_other_images(images: list[DemoImage]) -> None:
    others = {image.body for image in demo_images(6, 20, SMALL_PX)}
    assert others.isdisjoint(image.body for image in images)


def test_every_label_takes_its_turn(images: list[DemoImage]) -> None:
    assert Counter(image.truth for image in images) == dict.fromkeys(LABELS, 1)


def test_keys_are_unique_and_the_unusual_ones_are_noted(images: list[DemoImage]) -> None:
    assert len({image.key for image in images}) == len(images)
    unusual = [image for image in images if quote(image.key) != image.key]
    assert unusual
    assert unusual == [image for image in images if image.note]


def test_formats_are_mixed_and_suffixes_are_true(images: list[DemoImage]) -> None:
    formats = Counter(str(opened(image).format) for image in images)
    assert {"JPEG", "PNG", "WEBP"} <= set(formats)
    suffixes = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
    for image in images:
        assert image.key.endswith("." + suffixes[str(opened(image).format)])


def test_sides_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(1)
    sizes = [shape_image(rng, NOTHING).size for _ in range(40)]
    assert all(SIDE_PX[0] <= side <= SIDE_PX[1] for size in sizes for side in size)
    assert any(width != height for width, height in sizes)


@pytest.mark.parametrize("label", LABELS[:-1])
def test_a_shape_of_its_colour_lies_in_the_central_square(label: str) -> None:
    """Seen through the eyes of a plain computation: enough pixels near a shade of the colour."""
    image = shape_image(np.random.default_rng(3), label, (160, 320))
    square = np.asarray(ImageOps.fit(image, (64, 64)), dtype=float)
    rng = np.random.default_rng(4)
    shades = np.array([fill_colour(rng, label.split()[0]) for _ in range(60)], dtype=float)
    nearest = np.linalg.norm(square[:, :, None] - shades, axis=-1).min(axis=-1)
    assert 0.05 < np.mean(nearest < 40) < 0.75


def test_shades_of_two_colours_are_never_close() -> None:
    rng = np.random.default_rng(2)
    shades = {
        name: np.array([fill_colour(rng, name) for _ in range(200)], dtype=float)
        for name in COLOURS
    }
    for one, other in itertools.combinations(shades, 2):
        distances = np.linalg.norm(shades[one][:, None] - shades[other], axis=-1)
        assert distances.min() > 25, (one, other)


def test_a_ring_is_open_and_a_circle_is_not() -> None:
    def middle(shape: str) -> int:
        mask = coverage(np.random.default_rng(0), shape, (100, 100), (50, 50), 40)
        return int(np.asarray(mask)[50, 50])

    assert (middle("ring"), middle("circle")) == (0, 255)


def test_no_shape_leaves_its_radius() -> None:
    for shape in ("circle", "square", "triangle", "star", "cross", "ring"):
        mask = np.asarray(coverage(np.random.default_rng(8), shape, (200, 200), (100, 100), 60))
        rows, columns = np.nonzero(mask)
        assert np.hypot(rows - 99.5, columns - 99.5).max() < 62, shape


def test_every_odd_object_is_either_classifiable_or_names_its_code(
    odd: dict[str, DemoImage],
) -> None:
    for image in odd.values():
        assert (image.truth is None) == (image.code is not None)
        assert image.truth is None or image.truth in LABELS
        assert image.code is None or image.code in CODES
        assert image.note


@pytest.mark.parametrize("name", ["truncated.jpg", "damaged.png"])
def test_a_broken_file_opens_and_fails_to_load(odd: dict[str, DemoImage], name: str) -> None:
    with opened(odd[name]) as image, pytest.raises(OSError, match=r"truncated|unrecognized|broken"):
        image.load()


@pytest.mark.parametrize("name", ["error-page.jpg", "empty.png"])
def test_what_is_no_image_is_not_recognised(odd: dict[str, DemoImage], name: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        opened(odd[name])


def test_the_bomb_is_small_and_announces_more_than_any_limit() -> None:
    body = pixel_bomb()
    assert len(body) < 1_000
    with warnings.catch_warnings(), pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(body))


def test_rare_files_are_as_rare_as_they_claim(odd: dict[str, DemoImage]) -> None:
    assert getattr(opened(odd["animated.gif"]), "n_frames", 1) > 1
    assert odd["16-bit.png"].body[24] == 16  # the bit depth of IHDR
    assert opened(odd["cmyk.jpg"]).mode == "CMYK"
    assert opened(odd["turned.jpg"]).getexif()[0x0112] == 6
    palette = opened(odd["transparent.png"])
    assert palette.mode == "P"
    assert palette.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_sixteen_bits_hold_the_drawing(odd: dict[str, DemoImage]) -> None:
    green = np.asarray(opened(odd["16-bit.png"]).convert("RGB"), dtype=int)
    greenish = (green[..., 1] - green[..., [0, 2]].max(axis=-1)) > 40
    assert 0.03 < greenish.mean() < 0.6
