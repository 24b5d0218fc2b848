"""Odd, broken and hostile files through the real sandbox: one outcome each, neighbours unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.adapters.decode.pillow import Decoded, PillowDecoder
from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.decode.wire import Refused
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import CODES, Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import DecodedImage, ImageGeometry
from tests.rigs.stages.decoding import noise
from tests.rigs.stages.image_files import pillow_decoder

GEOMETRY = ImageGeometry(64, 64)
POLICY = DecodePolicy(
    processes=2, formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF"), deadline_s=30
)
SEED = 20_260_101
MANGLED_FILES = 300
FLIPS = 8

TEXT_BYTES = 1_000_000
"""Of one piece of text, decompressed."""

Outcome = DecodedImage | Reject


def as_file(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def good() -> bytes:
    return as_file(Image.new("RGB", (70, 90), (1, 2, 3)), "PNG")


def generated() -> list[bytes]:
    """A stand-in for the collection: every mode in every format that takes it."""
    colour = noise(80, 60)
    files = []
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        image = (colour.convert("L") if mode in ("LA", "I;16", "I", "F") else colour).convert(mode)
        for file_format in POLICY.formats:
            with contextlib.suppress(OSError, ValueError):  # the format does not know the mode
                files.append(as_file(image, file_format))
    return [*files, b"", b"<html>403</html>", b"\xff\xd8\xff", b"GIF89a", files[0][:-9]]


def odd_images() -> list[bytes]:
    data = os.environ.get("CLIPSTREAM_TEST_DATA")
    if data is None:
        return generated()
    return [path.read_bytes() for path in sorted(Path(data, "odd-images").iterdir())]


def outcomes(bodies: list[bytes], policy: DecodePolicy = POLICY) -> list[Outcome]:
    """Decode all at once, with a good neighbour after each; check the neighbours."""

    async def one(decoder: SandboxedDecoder, body: bytes) -> Outcome:
        try:
            return await decoder.decode(body, GEOMETRY)
        except Reject as reject:
            return reject

    async def scenario() -> list[Outcome]:
        decoder = SandboxedDecoder(policy, MemoryMeter(IMAGE_METRICS))
        await decoder.start()
        try:
            queue = [each for body in bodies for each in (body, good())]
            return await asyncio.gather(*(one(decoder, body) for body in queue))
        finally:
            await decoder.close()

    ended = asyncio.run(scenario())
    for neighbour in ended[1::2]:
        assert isinstance(neighbour, DecodedImage)
        assert neighbour.pixels.reshape(-1, 3).min(axis=0).tolist() == [1, 2, 3]
        assert neighbour.pixels.reshape(-1, 3).max(axis=0).tolist() == [1, 2, 3]
    return ended[0::2]


@pytest.fixture(params=["strict", "fast"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def unconfined(mode: str) -> Iterator[PillowDecoder]:
    """The same decoder in this process."""
    with pillow_decoder(fast=mode == "fast", max_pixels=POLICY.max_pixels) as decoder:
        yield decoder


def test_odd_images_end_as_they_would_without_confinement(
    mode: str, unconfined: PillowDecoder
) -> None:
    def plain(body: bytes) -> Decoded | str:
        try:
            return unconfined.decode(body, GEOMETRY.resize, GEOMETRY.crop)
        except Refused as refused:
            return f"decode.{refused.verdict.name.lower()}"

    bodies = odd_images()
    assert len(bodies) >= 40
    kinds: Counter[str] = Counter()
    policy = POLICY.model_copy(update={"mode": mode})
    for body, outcome in zip(bodies, outcomes(bodies, policy), strict=True):
        expected = plain(body)
        if isinstance(outcome, Reject):
            assert outcome.code == expected
            kinds[outcome.code] += 1
        else:
            assert isinstance(expected, Decoded)
            assert outcome.pixels.tobytes() == expected.pixels
            assert (outcome.facts.format, outcome.facts.frames) == (
                expected.format,
                expected.frames,
            )
            kinds["decoded"] += 1
    assert kinds["decoded"] >= len(bodies) // 3
    assert kinds["decode.unsupported_format"] >= 1


def facts(body: bytes, decoder: PillowDecoder) -> tuple[object, ...]:
    """Of an image all but its pixels, of a refusal its code."""
    try:
        image = decoder.decode(body, 16, 16)
    except Refused as refused:
        return (refused.verdict,)
    return (image.format, image.width, image.height, image.frames)


def test_both_modes_decode_and_refuse_the_same_files() -> None:
    bodies = [*odd_images(), *cuts_of_a_large_jpeg()]
    found = {}
    for fast in (False, True):
        with pillow_decoder(fast=fast, max_pixels=POLICY.max_pixels) as decoder:
            found[fast] = [facts(body, decoder) for body in bodies]
    assert found[False] == found[True]
    assert len(set(found[True])) >= 8


def cuts_of_a_large_jpeg() -> list[bytes]:
    """Large enough to be decoded at an eighth of its size."""
    files = [as_file(noise(300, 200), "JPEG", progressive=each) for each in (False, True)]
    return [body[: len(body) * share // 20] for body in files for share in range(21)]


@pytest.mark.parametrize("file_format", POLICY.formats)
def test_a_file_cut_at_every_hundredth_has_one_outcome_each(file_format: str) -> None:
    body = as_file(noise(80, 60), file_format)
    cuts = [body[: len(body) * share // 100] for share in range(100)]
    rejects = [each.code for each in outcomes(cuts) if isinstance(each, Reject)]
    assert len(rejects) == len(cuts)
    assert set(rejects) <= {"decode.truncated", "decode.corrupt", "decode.unsupported_format"}


def test_mangled_files_have_one_outcome_each() -> None:
    rng = random.Random(SEED)
    files = [body for body in odd_images() if 0 < len(body) < 200_000]
    mangled = []
    for _ in range(MANGLED_FILES):
        body = bytearray(rng.choice(files))
        for _ in range(rng.randint(1, FLIPS)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        mangled.append(bytes(body))
    ended = outcomes(mangled)
    assert len(ended) == len(mangled)
    for outcome in ended:
        if isinstance(outcome, DecodedImage):
            assert outcome.pixels.shape == (64, 64, 3)
            assert outcome.pixels.dtype == np.uint8
        else:
            assert outcome.code in CODES


@pytest.mark.parametrize("file_format", POLICY.formats)
def test_a_bomb_of_many_pixels_in_few_bytes_is_refused_by_its_header(file_format: str) -> None:
    edge = 4_000
    bomb = as_file(Image.new("L", (edge, edge)), file_format)
    policy = POLICY.model_copy(update={"max_megapixels": 10.0})
    (outcome,) = outcomes([bomb], policy)
    assert isinstance(outcome, Reject)
    assert outcome.code == "decode.too_large"
    assert "16.0 megapixels announced against decode.max_megapixels = 10" in outcome.message


def test_a_bomb_of_text_beside_a_small_image_is_passed_over() -> None:
    """Together the pieces are beyond Pillow's limit; nothing of them is decompressed."""
    text = PngImagePlugin.PngInfo()
    pieces = PngImagePlugin.MAX_TEXT_MEMORY // TEXT_BYTES + 1
    for number in range(pieces):
        text.add_text(f"t{number}", "x" * TEXT_BYTES, zip=True)
    bomb = as_file(Image.new("RGB", (8, 8)), "PNG", pnginfo=text)
    assert len(bomb) < TEXT_BYTES
    (outcome,) = outcomes([bomb])
    assert isinstance(outcome, DecodedImage)


def test_the_largest_image_allowed_fits_the_memory_required() -> None:
    # A WebP with alpha takes the most of all formats.
    policy = DecodePolicy(processes=1, max_megapixels=12, max_memory_mib=485)
    image = Image.linear_gradient("L").resize((4_000, 3_000)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size))
    (outcome,) = outcomes([as_file(image, "WEBP", lossless=True, quality=0, method=0)], policy)
    assert isinstance(outcome, DecodedImage)
    assert (outcome.facts.width, outcome.facts.height) == (4_000, 3_000)
