"""TIFFs told by their tags: decoded rightly, or refused with a code of their own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rigs.stages.image_files import Tiff, packed, seen, verdict

EDGE = 8
UNSUPPORTED, CORRUPT, TRUNCATED = (
    "decode.unsupported_variant",
    "decode.corrupt",
    "decode.truncated",
)

RAMP = np.arange(EDGE * EDGE, dtype=np.uint32).reshape(EDGE, EDGE)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [16, 32])
def test_deep_greys_of_a_tiff_are_neither_inverted_nor_out_of_order(
    bits: int, photometric: int, big_endian: bool
) -> None:
    top = (1 << bits) - 1
    shades = RAMP.astype(np.uint64) * top // 63
    order = ">" if big_endian else "<"
    plane = shades.astype(f"{order}u{bits // 8}").tobytes()
    shown = seen(bytes(Tiff(8, 8, [plane], [bits], photometric, big_endian)), EDGE)[..., 0]
    expected = np.rint(RAMP * 255 / 63)
    assert np.abs(shown - (expected if photometric else 255 - expected)).max() <= 1


def test_12_bits_of_grey_are_not_black() -> None:
    shades = RAMP * 4_095 // 63
    rows = b"".join(packed([int(shade) for shade in row], 12) for row in shades)
    shown = seen(bytes(Tiff(8, 8, [rows], [12], 1)), EDGE)[..., 0]
    assert np.abs(shown - np.rint(RAMP * 255 / 63)).max() <= 1


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_colours_in_planes_are_those_of_whole_pixels(bits: int, big_endian: bool) -> None:
    order = ">" if big_endian else "<"
    colours = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1) * ((1 << bits) - 1) // 63
    stored = colours.astype(f"{order}u{bits // 8}")
    whole = Tiff(8, 8, [stored.tobytes()], [bits] * 3, 2, big_endian)
    planes = [stored[..., band].tobytes() for band in range(3)]
    apart = Tiff(8, 8, planes, [bits] * 3, 2, big_endian, planar=2)
    assert np.array_equal(seen(bytes(whole), EDGE), colours >> (bits - 8))
    assert np.array_equal(seen(bytes(apart), EDGE), colours >> (bits - 8))


@pytest.mark.parametrize(
    "tiff",
    [
        Tiff(8, 8, [bytes(64)], [8], 1, sample_format=2),
        Tiff(8, 8, [bytes(96)], [12], 1, big_endian=True),
        Tiff(8, 8, [bytes(64)] * 2, [8, 8], 1, planar=2, tags={338: (3, [2])}),
        Tiff(8, 8, [bytes(256)], [16, 16], 1, tags={338: (3, [2])}),
        Tiff(8, 8, [bytes(64)] * 3, [8] * 3, 8, planar=2),
        Tiff(8, 8, [bytes(512)], [64], 1, sample_format=3),
        Tiff(8, 8, [bytes(64)], [8], 1, tags={259: (3, [50_001])}),
        Tiff(8, 8, [bytes(64)], [8], 1, tags={0xBC01: (1, [1])}),
    ],
)
def test_a_tiff_that_would_be_misread_is_unsupported(tiff: Tiff) -> None:
    assert verdict(bytes(tiff)) == UNSUPPORTED


def test_the_code_of_a_tiff_follows_from_its_tags() -> None:
    whole = bytes(Tiff(8, 8, [bytes(64)], [8], 1))
    assert verdict(whole) == "TIFF"
    assert verdict(whole[:20]) == TRUNCATED
    assert verdict(bytes(Tiff(8, 8, [bytes(64)], [8], 1, tags={279: (4, [9_999])}))) == "TIFF"
    beyond = {273: (4, [9_999]), 279: (4, [64])}
    assert verdict(bytes(Tiff(8, 8, [bytes(64)], [8], 1, tags=beyond))) == TRUNCATED
    assert verdict(bytes(Tiff(8, 8, [bytes(64)], [8], 1, tags={259: (3, [8])}))) == CORRUPT
    assert verdict(bytes(Tiff(8, 8, [bytes(64)], [8], 77))) == CORRUPT
