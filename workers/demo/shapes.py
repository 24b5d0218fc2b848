"""Images of one coloured shape each, with a known truth.

Everything here is a pure function of its seed and of the pinned Pillow and numpy, so two machines
with the same environment make the same bytes. The demo classifies these images, and its model is
trained on other images of the same kind (``workers.demo.train``).
"""

from __future__ import annotations

import colorsys
import io
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Rgb = tuple[int, int, int]
Point = tuple[float, float]


class Tint(NamedTuple):
    """Range of a named colour: hue in degrees (may pass 360), saturation and value 0 to 1."""

    hue_deg: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


# Ranges are disjoint with gaps between neighbours, so that no image is ambiguous to a person.
COLOURS = MappingProxyType(
    {
        "red": Tint((352, 364), (0.82, 1.0), (0.75, 0.95)),
        "orange": Tint((25, 33), (0.85, 1.0), (0.93, 1.0)),
        "yellow": Tint((50, 57), (0.75, 1.0), (0.92, 1.0)),
        "green": Tint((110, 150), (0.6, 1.0), (0.45, 0.75)),
        "blue": Tint((212, 236), (0.7, 1.0), (0.65, 0.95)),
        "purple": Tint((274, 294), (0.55, 0.9), (0.5, 0.75)),
        "black": Tint((0, 360), (0.0, 0.2), (0.02, 0.1)),
        "white": Tint((0, 360), (0.0, 0.04), (0.96, 1.0)),
    }
)
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
NOTHING = "nothing"
"""Truth of an image with only a background."""
LABELS = (*(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES), NOTHING)

SIDE_PX = (120, 900)
"""Shortest and longest side of a demo image."""
_ASPECT_RATIOS = (1.0, 1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 9)
_RADIUS_SHARE = (0.34, 0.46)  # of the central square that a model sees
_MIN_CONTRAST = 110.0  # Euclidean, of 8-bit RGB: black to white is 442
_OVERSAMPLING = 2
_GRAIN_TILE_PX = 128

# Roughly the formats in a crawl of the web. The suffix is the key's. Each writer is lossless or has
# a quality that keeps shape and colour clear.
_FORMATS: tuple[tuple[str, str], ...] = (
    *(("JPEG", "jpg"),) * 10,
    *(("PNG", "png"),) * 5,
    *(("WEBP", "webp"),) * 3,
    ("GIF", "gif"),
    ("BMP", "bmp"),
)
# Legal object keys that break careless readers. Each must be reported unchanged.
_ODD_NAMES = ("a b", "a+b", "100%25", "Größe-日本", "<i>&'\"", "q?x=1#y")
_ODD_NAME_EVERY = 41


@dataclass(frozen=True, slots=True)
class DemoImage:
    """An object to put into the store.

    ``truth`` is the one of ``LABELS`` that the image shows. It is None if the image cannot be
    decoded; ``code`` is then the reject code that it must end with. ``note`` says what is special
    about the object, and is empty for a plain image.
    """

    key: str
    body: bytes
    truth: str | None
    note: str = ""
    code: str | None = None


def demo_images(seed: int, count: int, side_px: tuple[int, int] = SIDE_PX) -> Iterator[DemoImage]:
    """Make ``count`` well-formed images of mixed formats; labels take turns in shuffled order."""
    rng = np.random.default_rng(seed)
    turns = itertools.chain.from_iterable(
        rng.permutation(LABELS).tolist() for _ in itertools.count()
    )
    for index, label in enumerate(itertools.islice(turns, count)):
        file_format, suffix = _FORMATS[rng.integers(len(_FORMATS))]
        name, note = f"{index:05d}", ""
        if index % _ODD_NAME_EVERY == _ODD_NAME_EVERY // 2:
            odd = _ODD_NAMES[index // _ODD_NAME_EVERY % len(_ODD_NAMES)]
            name, note = f"{name} {odd}", "a key with unusual characters"
        image = shape_image(rng, label, side_px)
        yield DemoImage(f"shapes/{name}.{suffix}", encoded(image, file_format, rng), label, note)


def shape_image(
    rng: np.random.Generator, label: str, side_px: tuple[int, int] = SIDE_PX
) -> Image.Image:
    """Draw one of ``LABELS`` at a random size, place, angle and background; RGB.

    The shape lies completely in the central square, which a model sees of an image.
    """
    colour, shape = _parts(rng, label)
    width, height = _size(rng, side_px)
    fill, near, far = _palette(rng, colour)
    canvas = _background(rng, width, height, near, far)
    square = min(width, height)
    if shape is not None:
        radius = square * rng.uniform(*_RADIUS_SHARE)
        room = square / 2 - radius
        centre = (width / 2 + rng.uniform(-room, room), height / 2 + rng.uniform(-room, room))
        canvas.paste(fill, mask=coverage(rng, shape, (width, height), centre, radius))
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(square * rng.uniform(0.002, 0.01)))
    return _with_grain(rng, canvas, sigma=rng.uniform(0, 10))


def encoded(image: Image.Image, format: str, rng: np.random.Generator) -> bytes:
    """Write ``image`` in a Pillow ``format``, with a random good quality if the format has one."""
    options: dict[str, int] = {}
    if format in {"JPEG", "WEBP"}:
        options["quality"] = int(rng.integers(60, 96))
    if format == "PNG":
        options["compress_level"] = 1
    if format == "WEBP":
        options["method"] = 1
    if format == "GIF":
        image = image.quantize(method=Image.Quantize.FASTOCTREE)
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def _parts(rng: np.random.Generator, label: str) -> tuple[str, str | None]:
    """Colour and shape of a label. For ``NOTHING``, a colour to contrast with the background."""
    if label == NOTHING:
        return str(rng.choice(list(COLOURS))), None
    colour, shape = label.split()
    return colour, shape


def _size(rng: np.random.Generator, side_px: tuple[int, int]) -> tuple[int, int]:
    """Width and height, both within ``side_px``; small images are as frequent as large ones."""
    low, high = side_px
    side = math.exp(rng.uniform(math.log(low), math.log(high)))
    ratio = _ASPECT_RATIOS[rng.integers(len(_ASPECT_RATIOS))]
    width, height = side * math.sqrt(ratio), side / math.sqrt(ratio)
    return tuple(min(max(round(edge), low), high) for edge in (width, height))  # type: ignore[return-value]


def fill_colour(rng: np.random.Generator, colour: str) -> Rgb:
    """A random shade of one of ``COLOURS``."""
    return _rgb(*(rng.uniform(*bounds) for bounds in COLOURS[colour]))


def _palette(rng: np.random.Generator, colour: str) -> tuple[Rgb, Rgb, Rgb]:
    """A fill of the named colour, and two similar tones of a dull background that contrasts with
    it."""
    fill = fill_colour(rng, colour)
    while True:
        hue = rng.uniform(0, 360)
        saturation = rng.uniform(0, 0.3)
        value = rng.uniform(0.1, 1.0)
        near = _rgb(hue, saturation, value)
        far = _rgb(hue, saturation, min(1.0, max(0.05, value + rng.uniform(-0.15, 0.15))))
        if min(math.dist(fill, near), math.dist(fill, far)) >= _MIN_CONTRAST:
            return fill, near, far


def _rgb(hue_deg: float, saturation: float, value: float) -> Rgb:
    red, green, blue = colorsys.hsv_to_rgb(hue_deg % 360 / 360, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _background(
    rng: np.random.Generator, width: int, height: int, near: Rgb, far: Rgb
) -> Image.Image:
    """Plain, a gradient, stripes or checks between two tones; RGB."""
    pattern = ("plain", "gradient", "stripes", "checks")[rng.integers(4)]
    angle = rng.uniform(0, 2 * math.pi)
    period = min(width, height) * rng.uniform(0.05, 0.4)
    if pattern == "plain":
        return Image.new("RGB", (width, height), near)
    share = _ramp(width, height, angle)
    if pattern == "gradient":
        share = (share - share.min()) / np.ptp(share)
    else:
        share = np.floor(share / period)
        if pattern == "checks":
            share += np.floor(_ramp(width, height, angle + math.pi / 2) / period)
        share %= 2
    # A palette image is many times faster than indexing an array of colours.
    blend = Image.fromarray((share * 255).astype(np.uint8)).convert("P")
    blend.putpalette(np.linspace(near, far, 256).round().astype(np.uint8).tobytes())
    return blend.convert("RGB")


def _ramp(width: int, height: int, angle: float) -> npt.NDArray[np.float32]:
    """[height, width]: distance in pixels along a direction."""
    rows = np.arange(height, dtype=np.float32)[:, np.newaxis]
    columns = np.arange(width, dtype=np.float32)
    ramp: npt.NDArray[np.float32] = rows * np.float32(math.sin(angle))
    return ramp + columns * np.float32(math.cos(angle))


def coverage(
    rng: np.random.Generator,
    shape: str,
    size: tuple[int, int],
    centre: Point,
    radius: float,
) -> Image.Image:
    """Coverage of a shape at a random angle, antialiased; "L" of ``size``."""
    mask = Image.new("L", (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING))
    draw = ImageDraw.Draw(mask)
    x, y, reach = (value * _OVERSAMPLING for value in (*centre, radius))
    if shape in {"circle", "ring"}:
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
        if shape == "ring":
            hole = reach * rng.uniform(0.5, 0.7)
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        turn = rng.uniform(0, 2 * math.pi)
        draw.polygon(
            [
                (
                    x + reach * distance * math.cos(angle + turn),
                    y + reach * distance * math.sin(angle + turn),
                )
                for angle, distance in _OUTLINES[shape](rng)
            ],
            fill=255,
        )
    return mask.resize(size, Image.Resampling.BOX)


# Corners of a shape as (angle in radians, distance from its centre), the farthest at distance 1.
Outline = list[tuple[float, float]]


def _regular(corners: int) -> Outline:
    return [(2 * math.pi * corner / corners, 1.0) for corner in range(corners)]


def _star(rng: np.random.Generator) -> Outline:
    inner = rng.uniform(0.38, 0.5)
    return [(math.pi * corner / 5, inner if corner % 2 else 1.0) for corner in range(10)]


def _cross(rng: np.random.Generator) -> Outline:
    """Four arms; the notch between two of them is as far out as the arms are half wide."""
    spread = math.atan(rng.uniform(0.28, 0.42))
    notch = math.sqrt(2) * math.sin(spread)
    return [
        (arm * math.pi / 2 + angle, distance)
        for arm in range(4)
        for angle, distance in ((-spread, 1.0), (spread, 1.0), (math.pi / 4, notch))
    ]


_OUTLINES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "square": lambda _: _regular(4),
    "triangle": lambda _: _regular(3),
    "star": _star,
    "cross": _cross,
}


def _with_grain(rng: np.random.Generator, image: Image.Image, sigma: float) -> Image.Image:
    """Add sensor-like noise. One tile is repeated, because new noise for each pixel would cost more
    time than the rest of an image."""
    tile = rng.normal(0, sigma, (_GRAIN_TILE_PX, _GRAIN_TILE_PX, 3)).round().astype(np.int16)
    repeats = (-(-image.height // _GRAIN_TILE_PX), -(-image.width // _GRAIN_TILE_PX), 1)
    grain = np.tile(tile, repeats)[: image.height, : image.width]
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
