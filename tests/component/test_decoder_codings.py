"""Objects with a Content-Encoding, undone in the real sandbox."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import brotli
import numpy as np
import pytest
import zstandard
from PIL import Image

from pipeline.adapters.decode.content_coding import undo
from pipeline.adapters.decode.wire import Refused
from pipeline.decode.codings import CODINGS
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.records import DecodedImage, ImageGeometry
from tests.rigs.stages.decoding import decoding

GEOMETRY = ImageGeometry(32, 32)
MAX_BYTES = 1_000_000
BOMB_BYTES = 500_000_000


def image() -> bytes:
    shades = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "PNG")
    return file.getvalue()


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=5),  # the best takes 20 s for a bomb
    "zstd": zstandard.compress,
}


Decode = Callable[[bytes, str | None], DecodedImage | Reject]
"""Decodes a body of a Content-Encoding."""


@pytest.fixture(scope="module")
def decode() -> Iterator[Decode]:
    # Tight: a bomb that is unpacked whole, or nearly, ends the child.
    policy = DecodePolicy(processes=1, max_megapixels=1, max_memory_mib=280)
    with decoding(policy, MAX_BYTES) as decoder:
        yield lambda body, content_encoding: decoder.one(body, GEOMETRY, content_encoding)


def pixels(outcome: DecodedImage | Reject) -> bytes:
    assert isinstance(outcome, DecodedImage), outcome
    return outcome.pixels.tobytes()


def refusal(outcome: DecodedImage | Reject) -> Reject:
    assert isinstance(outcome, Reject)
    return outcome


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coded_image_is_decoded_as_it_was_before(coding: str, decode: Decode) -> None:
    plain = pixels(decode(image(), None))
    assert pixels(decode(CODERS[coding](image()), coding)) == plain
    assert pixels(decode(image(), "identity, aws-chunked")) == plain


def test_several_codings_are_undone_from_the_last_to_the_first(decode: Decode) -> None:
    body = image()
    for coding in CODINGS:
        body = CODERS[coding](body)
    assert pixels(decode(body, ", ".join(CODINGS))) == pixels(decode(image(), None))
    assert refusal(decode(body, ", ".join(reversed(CODINGS)))).code == "decode.corrupt"


def test_deflate_without_its_head_is_undone_as_browsers_do(decode: Decode) -> None:
    assert pixels(decode(raw_deflate(image()), "deflate")) == pixels(decode(image(), None))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_in_several_pieces_is_put_together(coding: str, decode: Decode) -> None:
    body = image()
    pieces = b"".join(CODERS[coding](part) for part in (body[:5_000], b"", body[5_000:]))
    assert pixels(decode(pieces, coding)) == pixels(decode(body, None))


def test_what_follows_a_gzip_member_is_passed_over(decode: Decode) -> None:
    assert pixels(decode(gzip.compress(image()) + b"rubbish", "gzip")) == pixels(
        decode(image(), None)
    )


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coded_body_that_ends_early_is_truncated(coding: str, decode: Decode) -> None:
    body = CODERS[coding](image())
    assert refusal(decode(body[: len(body) // 2], coding)).code == "decode.truncated"
    assert refusal(decode(body[:-1], coding)).code == "decode.truncated"


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_that_is_not_so_coded_is_corrupt_and_says_what_it_is(
    coding: str, decode: Decode
) -> None:
    reject = refusal(decode(image(), coding))
    assert reject.code == "decode.corrupt"
    assert f"Content-Encoding is {coding} and its bytes are PNG as they are stored" in (
        reject.message
    )


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_refused_within_the_childs_memory(coding: str, decode: Decode) -> None:
    bomb = CODERS[coding](bytes(BOMB_BYTES))
    assert len(bomb) < MAX_BYTES
    reject = refusal(decode(bomb, coding))
    assert reject.code == "decode.too_large"
    assert "fetch.max_bytes = 1,000,000" in reject.message
    twice = CODERS[coding](bomb)
    assert refusal(decode(twice, f"{coding}, {coding}")).code == "decode.too_large"


@pytest.mark.parametrize("coding", CODINGS)
def test_a_file_of_exactly_the_limit_is_no_bomb(coding: str) -> None:
    body = bytes(MAX_BYTES)
    assert undo(CODERS[coding](body), (coding,), MAX_BYTES) == body
    with pytest.raises(Refused):
        undo(CODERS[coding](body + b"\0"), (coding,), MAX_BYTES)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_mangled_body_is_refused_or_undone_and_nothing_else(coding: str) -> None:
    rng = random.Random(7)
    body = CODERS[coding](image())
    for _ in range(300):
        mangled = bytearray(body)
        for _ in range(rng.randint(1, 6)):
            mangled[rng.randrange(len(mangled))] = rng.randrange(256)
        try:
            assert len(undo(bytes(mangled), (coding,), MAX_BYTES)) <= MAX_BYTES
        except Refused:
            continue


def test_an_unknown_coding_is_refused_by_name(decode: Decode) -> None:
    reject = refusal(decode(image(), "compress"))
    assert reject.code == "decode.unsupported_encoding"
    assert "'compress'" in reject.message


def test_what_is_no_image_once_unpacked_is_named(decode: Decode) -> None:
    reject = refusal(decode(gzip.compress(b"<svg/>"), "gzip"))
    assert (reject.code, reject.format) == ("decode.unsupported_format", "SVG")
