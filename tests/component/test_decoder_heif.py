"""HEIF in the real sandbox: what viewers show, whatever is written in the file besides."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.decode.policy import HEIF_BYTES_PER_PIXEL, DecodePolicy
from pipeline.errors import CODES, Halt, Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import DecodedImage, ImageGeometry, Pixels
from tests.rigs.root import ROOT
from tests.rigs.stages.decoding import decoding

DATA = ROOT / "tests" / "data/heif"
GEOMETRY = ImageGeometry(32, 32)
POLICY = DecodePolicy(processes=1, formats=("AVIF", "HEIF"))
MANGLED_FILES = 200
SEED = 20_260_101

TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = (2, 2), (2, -3), (-3, 2), (-3, -3)
CORNERS = (TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT)
BLUE = {
    1: TOP_LEFT,
    2: TOP_RIGHT,
    3: BOTTOM_RIGHT,
    4: BOTTOM_LEFT,
    5: TOP_LEFT,
    6: TOP_RIGHT,
    7: BOTTOM_RIGHT,
    8: BOTTOM_LEFT,
}
"""Where EXIF's orientation moves the top left corner."""


Heif = Callable[[bytes], DecodedImage | Reject]
"""Decodes a file of HEIF or AVIF."""


@contextlib.contextmanager
def decoding_of(policy: DecodePolicy) -> Iterator[Heif]:
    with decoding(policy) as decoder:
        yield lambda body: decoder.one(body, GEOMETRY)


@pytest.fixture(scope="module")
def heif() -> Iterator[Heif]:
    with decoding_of(POLICY) as decoder:
        yield decoder


def file(name: str) -> bytes:
    return (DATA / f"{name}.heic").read_bytes()


def decoded(outcome: DecodedImage | Reject) -> DecodedImage:
    assert isinstance(outcome, DecodedImage), outcome
    assert outcome.facts.format == "HEIF"
    return outcome


def refused(outcome: DecodedImage | Reject) -> str:
    assert isinstance(outcome, Reject)
    return outcome.code


def blue_corners(pixels: Pixels) -> list[tuple[int, int]]:
    return [at for at in CORNERS if pixels[at][2] > 150 > pixels[at][0]]


@pytest.mark.parametrize("orientation", BLUE)
def test_a_picture_is_turned_once_though_exif_asks_for_it_again(
    orientation: int, heif: Heif
) -> None:
    image = decoded(heif(file(f"orientation_{orientation}")))
    assert blue_corners(image.pixels) == [BLUE[orientation]]
    assert (image.facts.width, image.facts.height) == ((32, 48) if orientation > 4 else (48, 32))


def test_an_exif_orientation_alone_turns_nothing(heif: Heif) -> None:
    assert blue_corners(decoded(heif(file("exif_alone"))).pixels) == [TOP_LEFT]


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_pictures_keep_their_whole_range(bits: int, heif: Heif) -> None:
    row = decoded(heif(file(f"ramp_{bits}_bits"))).pixels[16].mean(axis=1)
    ramp = np.linspace(0, 255, 64).reshape(32, 2).mean(axis=1)
    assert np.abs(row - ramp)[1:-1].max() <= 4


def test_alpha_lies_over_white(heif: Heif) -> None:
    image = decoded(heif(file("alpha")))
    assert blue_corners(image.pixels) == [TOP_LEFT]
    assert image.pixels[-1, -1].tolist() == [255, 255, 255]


def test_a_grid_of_tiles_is_one_picture(heif: Heif) -> None:
    image = decoded(heif(file("grid")))
    assert (image.facts.width, image.facts.height, image.facts.frames) == (192, 128, 1)
    assert blue_corners(image.pixels) == [TOP_LEFT]


def test_further_pictures_are_counted_and_the_first_is_seen(heif: Heif) -> None:
    image = decoded(heif(file("two_pictures")))
    assert image.facts.frames == 2
    assert blue_corners(image.pixels) == [TOP_LEFT]


def box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (len(content) + 8).to_bytes(4, "big") + name + content


def sequence(frames: int, handler: bytes = b"pict") -> bytes:
    """The tracks of a sequence, as far as its frames are counted."""
    sizes = box(b"stsz", bytes(8), frames.to_bytes(4, "big"), bytes(4 * frames))
    table = box(b"minf", box(b"stbl", sizes))
    return box(b"moov", box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), handler), table)))


def test_a_sequence_beside_a_still_picture_is_an_animation(heif: Heif) -> None:
    still = file("orientation_1")
    assert decoded(heif(still + sequence(24))).facts.frames == 24
    assert decoded(heif(still + sequence(24, b"soun"))).facts.frames == 1


def test_animations_are_refused_where_the_policy_says_so() -> None:
    with decoding_of(POLICY.model_copy(update={"animations": "reject"})) as strict:
        assert refused(strict(file("two_pictures"))) == "decode.animation"
        assert refused(strict(file("orientation_1") + sequence(2))) == "decode.animation"
        decoded(strict(file("orientation_1")))


def test_what_no_bundled_decoder_reads_is_a_variant_and_not_damaged(heif: Heif) -> None:
    coded_otherwise = file("grey").replace(b"infe\2\0\0\0\0\1\0\0hvc1", b"infe\2\0\0\0\0\1\0\0avc1")
    outcome = heif(coded_otherwise)
    assert refused(outcome) == "decode.unsupported_variant"
    assert "AVC" in str(outcome)
    alone = box(b"ftyp", b"msf1", bytes(4), b"hevc") + sequence(9)
    assert refused(heif(alone)) == "decode.unsupported_variant"


def test_a_file_cut_anywhere_is_refused(heif: Heif) -> None:
    body = file("orientation_6")
    for share in range(10, 100, 10):
        code = refused(heif(body[: len(body) * share // 100]))
        assert code in ("decode.truncated", "decode.corrupt")


def test_mangled_files_have_one_outcome_each(heif: Heif) -> None:
    rng = random.Random(SEED)
    files = [path.read_bytes() for path in sorted(DATA.glob("*.heic"))]
    small = [body for body in files if len(body) < 1_000]
    for _ in range(MANGLED_FILES):
        body = bytearray(rng.choice(small))
        for _ in range(rng.randint(1, 8)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        outcome = heif(bytes(body))
        assert isinstance(outcome, DecodedImage) or outcome.code in CODES
    assert blue_corners(decoded(heif(file("orientation_1"))).pixels) == [TOP_LEFT]


def test_the_largest_picture_allowed_fits_the_memory_required() -> None:
    needed_mib = 256 + 12_000_000 * HEIF_BYTES_PER_PIXEL // 2**20 + 1
    policy = DecodePolicy(
        processes=1, formats=("HEIF",), max_megapixels=12, max_memory_mib=needed_mib
    )
    with decoding_of(policy) as tight:
        assert decoded(tight(file("ten_bits_alpha_12_megapixels"))).facts.width == 3_000


def test_more_pixels_than_allowed_are_refused_by_the_header() -> None:
    with decoding_of(POLICY.model_copy(update={"max_megapixels": 10.0})) as small:
        assert refused(small(file("ten_bits_alpha_12_megapixels"))) == "decode.too_large"


def test_without_the_library_the_start_says_what_to_install(tmp_path: Path) -> None:
    program = tmp_path / "without.py"
    program.write_text(
        "import sys\n"
        "sys.modules['pillow_heif'] = None\n"
        "from pipeline.adapters.decode.child import main\n"
        "main()\n"
    )

    async def scenario() -> None:
        decoder = SandboxedDecoder(POLICY, MemoryMeter(IMAGE_METRICS), program)
        with pytest.raises(Halt) as caught:
            await decoder.start()
        assert caught.value.code == "decode.unavailable"
        assert caught.value.message.startswith("decode.formats: HEIF needs a library that cannot")
        assert "install clipstream[heif]" in caught.value.message

    asyncio.run(scenario())


def test_heif_outside_the_list_is_named_with_what_to_install_and_set() -> None:
    async def scenario() -> Reject:
        decoder = SandboxedDecoder(DecodePolicy(processes=1), MemoryMeter(IMAGE_METRICS))
        await decoder.start()
        try:
            with pytest.raises(Reject) as caught:
                await decoder.decode(GOOD_IMAGES["HEIF"], GEOMETRY)
        finally:
            await decoder.close()
        return caught.value

    reject = asyncio.run(scenario())
    assert (reject.code, reject.format) == ("decode.unsupported_format", "HEIF")
    assert "the file is HEIF" in reject.message
    assert "install clipstream[heif]" in reject.message
