"""Several views of one file, as the sandboxed decoder sends them."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.decode.policy import FRAMES_BYTES_PER_PIXEL, DecodePolicy
from pipeline.errors import Reject
from pipeline.records import DecodedImage, ImageGeometry
from tests.rigs.stages.decoding import Decoding, as_file, decoding, noise

GEOMETRY = ImageGeometry(32, 32)
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200))


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoding]:
    policy = DecodePolicy(
        views="all",
        max_views=5,
        processes=1,
        formats=("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF"),
    )
    with decoding(policy) as running:
        yield running


def decoded(decoder: Decoding, body: bytes) -> DecodedImage:
    image = decoder.one(body, GEOMETRY)
    assert not isinstance(image, Reject), image
    return image


def shades(image: DecodedImage) -> list[tuple[int, ...]]:
    """The mean colour of each view, in steps of 100."""
    assert image.views is not None
    means = image.views.pixels.mean(axis=(1, 2))
    return [tuple(each) for each in (np.round(means / 100).astype(int) * 100).tolist()]


def striped(edge: int = 64) -> Image.Image:
    """Five squares in a row, each of a colour of its own."""
    image = Image.new("RGB", (5 * edge, edge))
    for place, colour in enumerate(COLOURS):
        image.paste(colour, (place * edge, 0, (place + 1) * edge, edge))
    return image


def animation(frames: int, size: tuple[int, int] = (64, 64)) -> list[Image.Image]:
    return [Image.new("RGB", size, COLOURS[number % 5]) for number in range(frames)]


def animated(file_format: str, frames: list[Image.Image], **options: object) -> bytes:
    return as_file(
        frames[0], file_format, save_all=True, append_images=frames[1:], duration=40, **options
    )


def test_the_squares_of_a_strip_are_sent_centre_first_with_their_places(decoder: Decoding) -> None:
    image = decoded(decoder, as_file(striped()))
    assert image.views is not None
    assert shades(image) == [COLOURS[2], COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[4]]
    assert [(view.kind, view.frame) for view in image.views.places] == [
        ("centre", 0),
        *[("tile", 0)] * 4,
    ]
    assert [view.left for view in image.views.places] == [128, 0, 64, 192, 256]
    assert {(view.top, view.bottom) for view in image.views.places} == {(0, 64)}
    assert (image.facts.cropped_share, image.facts.frames_seen) == (0.0, 1)
    assert np.array_equal(image.pixels, image.views.pixels[0])


@pytest.mark.parametrize("mode", ["strict", "fast"])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_each_view_is_what_the_centre_of_that_part_would_be(file_format: str, mode: str) -> None:
    """Within 2 of 255: the resampler reads beyond the edges of a square."""
    picture = noise(16, 4).resize((1600, 400), Image.Resampling.BICUBIC)
    body = as_file(picture, file_format)
    policy = {"processes": 1, "mode": mode}
    with decoding(DecodePolicy.model_validate(policy)) as centre:
        alone = decoded(centre, body)
        assert alone.views is None
    with decoding(DecodePolicy.model_validate({**policy, "views": "all"})) as all_views:
        image = decoded(all_views, body)
    assert image.views is not None
    assert np.array_equal(image.pixels, alone.pixels)
    assert len(image.views.places) == 5
    for view, pixels in zip(image.views.places, image.views.pixels, strict=True):
        box = (int(view.left), int(view.top), int(view.right), int(view.bottom))
        expected = np.asarray(picture.crop(box).resize((32, 32), Image.Resampling.BICUBIC))
        inner = (slice(2, -2), slice(2, -2))
        apart = np.abs(pixels[inner].astype(int) - expected[inner])
        assert np.percentile(apart, 99) <= (2 if file_format == "PNG" else 8)


def test_a_tall_image_is_turned_before_it_is_looked_at(decoder: Decoding) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees: the left end comes to the top
    image = decoded(decoder, as_file(striped(), "PNG", exif=exif))
    assert image.views is not None
    assert (image.facts.width, image.facts.height) == (64, 320)
    assert [view.top for view in image.views.places] == [128, 0, 64, 192, 256]
    assert shades(image) == [COLOURS[2], COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[4]]


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_frames_of_an_animation_are_seen_to_the_last(decoder: Decoding, file_format: str) -> None:
    options: dict[str, object] = {"lossless": True} if file_format == "WEBP" else {}
    few = decoded(decoder, animated(file_format, animation(3), **options))
    assert few.views is not None
    assert shades(few) == list(COLOURS[:3])
    assert (few.facts.frames, few.facts.frames_seen) == (3, 3)
    many = decoded(decoder, animated(file_format, animation(23), **options))
    assert many.views is not None
    assert [view.frame for view in many.views.places] == [0, 5, 11, 16, 22]
    assert shades(many) == [COLOURS[number % 5] for number in (0, 5, 11, 16, 22)]
    assert (many.facts.frames, many.facts.frames_seen) == (23, 5)


def test_the_squares_of_a_frame_come_before_further_frames(decoder: Decoding) -> None:
    image = decoded(decoder, animated("GIF", animation(4, (128, 64))))
    assert image.views is not None
    assert [(view.kind, view.frame) for view in image.views.places] == [
        ("centre", 0),
        ("tile", 0),
        ("tile", 0),
    ]
    assert (image.facts.frames, image.facts.frames_seen) == (4, 1)


def test_a_frame_that_only_changes_a_part_is_seen_with_what_is_below_it(
    decoder: Decoding,
) -> None:
    first = Image.new("RGB", (64, 64), COLOURS[0])
    second = first.copy()
    second.paste(COLOURS[1], (0, 0, 32, 64))
    image = decoded(decoder, animated("GIF", [first, second], optimize=True))
    assert image.views is not None
    left, right = image.views.pixels[1][16, 4], image.views.pixels[1][16, 28]
    assert np.abs(left.astype(int) - COLOURS[1]).max() < 10
    assert np.abs(right.astype(int) - COLOURS[0]).max() < 10


def test_pages_of_a_document_are_not_looked_at(decoder: Decoding) -> None:
    image = decoded(decoder, animated("TIFF", animation(3)))
    assert image.views is None
    assert (image.facts.frames, image.facts.frames_seen) == (3, 1)


@pytest.mark.parametrize("file_format", ["GIF", "PNG"])
def test_frames_behind_a_damage_are_unseen_and_those_before_it_count(
    decoder: Decoding, file_format: str
) -> None:
    frames = [noise(64, 64).rotate(turn) for turn in (0, 90, 180, 270)]
    body = animated(file_format, frames)
    image = decoded(decoder, body[: len(body) * 5 // 8])
    assert image.facts.frames > image.facts.frames_seen
    assert image.facts.frames_seen >= 1
    whole = decoded(decoder, body)
    assert whole.facts.frames_seen == 4


def test_a_frame_of_another_size_ends_the_views(decoder: Decoding) -> None:
    small = animated("GIF", animation(1))
    second = io.BytesIO()
    Image.new("RGB", (96, 64), COLOURS[1]).save(second, "GIF")
    grown = small[:-1] + second.getvalue()[second.getvalue().index(b"\x2c") :]
    image = decoded(decoder, grown)
    assert (image.facts.frames, image.facts.frames_seen) == (2, 1)
    assert image.views is None


PEAK = """
import sys
from pathlib import Path
from pipeline.adapters.decode.pillow import PillowDecoder
from pipeline.decode.views import Viewing

def peak():
    (line,) = [each for each in open("/proc/self/status") if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

decoder = PillowDecoder(
    formats=("WEBP", "AVIF"),
    max_pixels=4_000_000,
    reject_animations=False,
    viewing=Viewing(9, 0.1),
)
decoder.self_test()
body = Path(sys.argv[1]).read_bytes()
before = peak()
decoded = decoder.decode(body, 32, 32)
print(len(decoded.pixels) // (3 * 32 * 32), peak() - before)
"""


@pytest.mark.parametrize(
    ("file_format", "options"), [("WEBP", {"quality": 10, "method": 0}), ("AVIF", {"speed": 10})]
)
def test_further_frames_take_no_more_memory_than_the_settings_reckon_with(
    tmp_path: Path, file_format: str, options: dict[str, object]
) -> None:
    """These two formats take the most."""
    frames = [
        noise(10 + turn, 10, "RGBA").resize((2000, 2000), Image.Resampling.NEAREST)
        for turn in range(3)
    ]
    file = tmp_path / "animation"
    file.write_bytes(animated(file_format, frames, **options))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True
    )
    views, taken_bytes = map(int, done.stdout.split())
    assert views == 3
    assert taken_bytes / 4_000_000 <= FRAMES_BYTES_PER_PIXEL


def test_a_long_animation_cannot_outlast_the_deadline() -> None:
    blocks = animated("GIF", [noise(700, 700), noise(700, 699).resize((700, 700))])
    head, first = blocks[:13], blocks[13:-1]
    endless = head + first + first[first.index(b"\x2c") :] * 40 + b"\x3b"
    policy = DecodePolicy(views="all", processes=1, deadline_s=0.2)
    with decoding(policy, max_file_bytes=2**30) as decoder:
        outcome = decoder.one(endless, GEOMETRY)
        assert isinstance(outcome, Reject)
        assert outcome.code == "decode.timeout"
        assert decoded(decoder, as_file(striped())).views is not None
