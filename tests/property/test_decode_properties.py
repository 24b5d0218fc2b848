"""Decoding: crops, resampling, counted frames, a child's answers and files with flipped bytes."""

from __future__ import annotations

import contextlib
import io

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from PIL import Image

from pipeline.adapters.decode.image_files.gif import count_gif_frames
from pipeline.adapters.decode.resampler import Resampler
from pipeline.adapters.decode.wire import REPLY_BYTES, ProtocolViolation, Refused, Reply, Verdict
from pipeline.decode.crop import Centring, Crop
from tests.rigs.stages.image_files import pillow_decoder

LENGTHS = st.integers(1, 100_000_000)
CENTRINGS: st.SearchStrategy[Centring] = st.sampled_from(["transformers", "openai"])


@st.composite
def crops(draw: st.DrawFn) -> Crop:
    resize = draw(st.integers(1, 1_024))
    edge, centring = draw(st.integers(1, resize)), draw(CENTRINGS)
    return Crop.of(draw(LENGTHS), draw(LENGTHS), resize, edge, centring)


@given(crops())
@example(Crop.of(1, 60_000, 224, 224))
def test_a_crop_is_centred_and_lies_in_the_image(crop: Crop) -> None:
    assert crop.resized_width - crop.edge - 2 * crop.left in (-1, 0, 1)
    assert crop.resized_height - crop.edge - 2 * crop.top in (-1, 0, 1)
    left, top, right, bottom = crop.box
    assert 0 <= left < right <= crop.width
    assert 0 <= top < bottom <= crop.height
    assert 0 <= crop.cropped_share < 1


@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([(16, 16), (24, 24), (24, 16)]),
    st.sampled_from(["L", "RGB"]),
    st.integers(0, 2**32 - 1),
)
def test_cutting_before_resampling_is_within_1_of_cutting_after(
    width: int, height: int, geometry: tuple[int, int], mode: str, seed: int
) -> None:
    shades = np.random.default_rng(seed).choice([0, 1, 127, 254, 255], (height, width, 3))
    image = Image.fromarray(shades.astype(np.uint8)).convert(mode)
    crop = Crop.of(width, height, *geometry)
    whole = image.resize((crop.resized_width, crop.resized_height), Image.Resampling.BICUBIC)
    cut = np.asarray(
        whole.crop((crop.left, crop.top, crop.left + crop.edge, crop.top + crop.edge))
    ).astype(int)
    resampler = Resampler()
    assert np.array_equal(np.asarray(resampler.like_the_reference(image, crop)[0]), cut)
    assert np.abs(resampler.close_to_the_reference(image, crop)[0] - cut).max() <= 1


@given(
    st.integers(40, 120),
    st.integers(40, 200),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_a_drawing_is_never_more_than_2_off(width: int, height: int, run: int, seed: int) -> None:
    # Runs of equal rows: the first pass rounds them alike.
    rows = np.random.default_rng(seed).choice([0, 255], (height // run + 1, width))
    image = Image.fromarray(np.repeat(rows, run, axis=0)[:height].astype(np.uint8))
    crop = Crop.of(width, height, 24, 24)
    resampler = Resampler()
    exact = np.asarray(resampler.like_the_reference(image, crop)[0]).astype(int)
    assert np.abs(resampler.close_to_the_reference(image, crop)[0] - exact).max() <= 2


@given(st.integers(1, 5_000), st.integers(1, 5_000), st.integers(1, 600))
def test_the_short_edge_is_met_and_the_shape_kept_within_a_pixel(
    width: int, height: int, resize: int
) -> None:
    crop = Crop.of(width, height, resize, resize)
    assert min(crop.resized_width, crop.resized_height) == resize
    across, down = crop.resized_width * height, crop.resized_height * width
    assert abs(across - down) <= min(width, height)


@given(st.integers(-2, 5), st.integers(-2, 5), st.integers(-2, 5), st.integers(-2, 5))
def test_an_impossible_crop_is_refused(width: int, height: int, resize: int, edge: int) -> None:
    if min(width, height, edge) >= 1 and edge <= resize:
        Crop.of(width, height, resize, edge)
    else:
        with pytest.raises(ValueError, match="impossible"):
            Crop.of(width, height, resize, edge)


@given(st.binary(min_size=REPLY_BYTES, max_size=REPLY_BYTES))
def test_whatever_a_child_answers_is_sound_or_a_violation(frame: bytes) -> None:
    try:
        reply = Reply.unpack(frame, formats=5, resize=224, crop=224)
    except ProtocolViolation:
        return
    assert reply.pack() == frame
    assert reply.payload_bytes <= 224 * 224 * 3
    if reply.verdict is Verdict.DECODED:
        assert min(reply.width, reply.height, reply.frames) >= 1


def as_file(file_format: str, frames: int, **options: object) -> bytes:
    pictures = [Image.new("RGB", (12, 9), (60 * n % 256, 0, 99)) for n in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, file_format, save_all=frames > 1, append_images=pictures[1:], **options)
    return file.getvalue()


@given(st.integers(1, 12), st.booleans(), st.binary(max_size=300))
def test_gif_frames_are_counted_as_pillow_counts_them(
    frames: int, interlace: bool, comment: bytes
) -> None:
    body = as_file("GIF", frames, interlace=interlace, comment=comment, loop=0)
    with Image.open(io.BytesIO(body)) as image:
        assert count_gif_frames(body) == getattr(image, "n_frames", None)


@given(st.binary(max_size=2_000))
def test_counting_gif_frames_ends_on_any_bytes(rest: bytes) -> None:
    assert count_gif_frames(b"GIF89a" + rest) >= 1


FILES = [
    as_file("JPEG", 1),
    as_file("JPEG", 1, progressive=True),
    *(as_file(name, frames) for name in ("PNG", "GIF", "WEBP", "TIFF") for frames in (1, 3)),
    as_file("BMP", 1),
    as_file("AVIF", 1),
]


@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_a_mangled_file_is_decoded_or_refused_and_nothing_else(
    body: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    # Safe to do in this process: the files are small, and the changes are ours.
    mangled = bytearray(body[: max(1, round(kept * len(body)))])
    for place, value in changes:
        mangled[int(place * (len(mangled) - 1))] = value
    with pillow_decoder(max_pixels=100_000) as decoder, contextlib.suppress(Refused):
        image = decoder.decode(bytes(mangled), 16, 16)
        assert len(image.pixels) == 16 * 16 * 3
        assert image.width * image.height <= 100_000
