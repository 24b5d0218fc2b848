"""PDQ hashes from the decoder's sandbox are those of the reference implementation."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.known.lists import PDQ_QUALITY_FLOOR
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import DecodedImage, ImageGeometry
from pipeline.records.known import PdqHash
from tests.rigs.root import ROOT

pytestmark = pytest.mark.component

BRIDGE = ROOT / "tests/data/pdq/bridge.jpg"
OF_THE_REFERENCE = "d8f8f0cee0f4a84f0637022a078f67f0b36e2ed596621e1d33e6339c4e9c9b22"
"""Its own regression test's: tests/data/pdq/README.md."""
GEOMETRY = ImageGeometry(224, 224)


def decoded(
    *files: bytes, policy: DecodePolicy | None = None, pdq: bool = True
) -> list[DecodedImage]:
    policy = (policy or DecodePolicy()).model_copy(update={"processes": 1})

    async def decode() -> list[DecodedImage]:
        decoder = SandboxedDecoder(policy, MemoryMeter(IMAGE_METRICS), pdq=pdq)
        await decoder.start()
        try:
            return [await decoder.decode(file, GEOMETRY) for file in files]
        finally:
            await decoder.close()

    return asyncio.run(decode())


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_the_hash_is_that_of_the_references_own_test() -> None:
    (image,) = decoded(BRIDGE.read_bytes())
    assert image.pdq == PdqHash(bytes.fromhex(OF_THE_REFERENCE), 100)


def test_small_pictures_are_hashed_from_all_their_pixels() -> None:
    """The hash was computed with pdqhash 0.2.8, the reference implementation."""
    with Image.open(BRIDGE) as bridge:
        small = bridge.resize((300, 188), Image.Resampling.NEAREST)
    expected = PdqHash(
        bytes.fromhex("f8f870eee4f4a84f0637022a038f27f0b36e2ed593221e1d33e6b39c4e9c9b22"), 100
    )
    files = (png(small), png(small.convert("L")), png(small.convert("RGBA")))
    assert [each.pdq for each in decoded(*files)] == [expected] * 3


def test_a_flat_picture_has_a_quality_below_the_floor() -> None:
    (image,) = decoded(png(Image.new("RGB", (600, 700), (200, 30, 30))))
    assert image.pdq is not None
    assert image.pdq.quality < PDQ_QUALITY_FLOOR


def test_decoders_that_need_no_hash_compute_none() -> None:
    (image,) = decoded(BRIDGE.read_bytes(), pdq=False)
    assert image.pdq is None


def test_views_come_with_the_hash_of_the_whole_first_frame() -> None:
    with Image.open(BRIDGE) as bridge:
        whole = png(bridge.convert("RGB"))
    (strict,) = decoded(whole, policy=DecodePolicy(views="all"))
    assert strict.views is not None
    assert strict.pdq == PdqHash(bytes.fromhex(OF_THE_REFERENCE), 100)
