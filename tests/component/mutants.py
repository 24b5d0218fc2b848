"""Files with flipped bits through the real sandbox: `make mutate MUTANTS=10000 SEED=1`.

Mutants take turns by format. Every one must end as an image or with a code of the decode stage, in
bounded time, and good images decoded among them must come out as they always do.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.adapters.decode.pool import START_DEADLINE_S, SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy, ImageFormat
from pipeline.decode.views import ANIMATED
from pipeline.errors import CODES, Code, Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import DecodedImage, ImageGeometry, Pixels
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS
from tests.rigs.stages.decoding import as_file, jpegs
from workers.demo.shapes import demo_images

GEOMETRY = ImageGeometry(64, 64)
FORMATS: tuple[ImageFormat, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
POLICY = DecodePolicy(processes=2, formats=FORMATS, deadline_s=10.0)
RESULT = RESULTS / "mutants.json"
PATIENCE_S = 2 * (POLICY.deadline_s + START_DEADLINE_S)
"""Two attempts, each in a process that had to be started first."""
MOST_FLIPS = 16
HEADER_BYTES = 512
"""Half of the flips fall in here, where a file says what it is."""
LARGEST_BYTES = 200_000
LONGEST_SIDE = 160
PHOTOS = 24
"""So many photographs are written in every format."""
PNG_SIGNATURE_BYTES = 8
AT_ONCE = 8
GOOD_EVERY = 5
"""Mutants between two good images, in each of the lines that are decoded at once."""


@dataclass
class Tally:
    """What became of the mutants: by format, and the code or ``decoded``."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    good: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        codes = sorted({code for _, code in self.outcomes})
        lines = [f"{'':28}" + "".join(f"{name:>7}" for name in (*FORMATS, "all"))]
        for code in codes:
            counts = [self.outcomes[name, code] for name in FORMATS]
            lines.append(f"{code:28}" + "".join(f"{n:7}" for n in (*counts, sum(counts))))
        total = self.outcomes.total()
        lines.append(f"{total} mutants and {self.good} good images in {self.seconds:.0f} s")
        return "\n".join(lines)


def originals(photos: Sequence[bytes], odd_images: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Files by format: some photographs written small in each of them, and all photographs and odd
    images as they are."""
    files: dict[str, list[bytes]] = {name: [] for name in FORMATS}
    for body in photos[:PHOTOS]:
        image = Image.open(io.BytesIO(body)).convert("RGB")
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        for name in FORMATS:
            file = io.BytesIO()
            image.save(file, name)
            files[name].append(file.getvalue())
    for body in (*photos, *odd_images):
        named = _format_of(body)
        if named in files and len(body) <= LARGEST_BYTES:
            files[named].append(body)
    return files


def animations(photos: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Files of a few frames, each a photograph, in the formats of which several are looked at."""
    frames = []
    for body in photos[:PHOTOS]:
        image = Image.open(io.BytesIO(body)).convert("RGB")
        frames.append(image.resize((LONGEST_SIDE, LONGEST_SIDE // 2)))
    return {
        name: [
            as_file(
                frames[at], name, save_all=True, append_images=frames[at + 1 : at + 3], duration=40
            )
            for at in range(0, len(frames), 3)
        ]
        for name in sorted(ANIMATED & set(FORMATS))
    }


def mutants(
    files: dict[str, list[bytes]], count: int, rng: random.Random
) -> Iterator[tuple[str, bytes]]:
    """So many files with flipped bits, and their formats."""
    for number in range(count):
        name = [*files][number % len(files)]
        body = bytearray(rng.choice(files[name]))
        for _ in range(rng.randint(1, MOST_FLIPS)):
            end = len(body) if rng.random() < 0.5 else min(len(body), HEADER_BYTES)
            body[rng.randrange(end)] ^= 1 << rng.randrange(8)
        # The decompressor of PNG sees none of the flips that a chunk's checksum gives away.
        if name == "PNG" and rng.random() < 0.5:
            _checksum_again(body)
        yield name, bytes(body)


def _checksum_again(png: bytearray) -> None:
    """Give every chunk the checksum of what it holds now, as far as its length makes sense."""
    start = PNG_SIGNATURE_BYTES
    while start + 12 <= len(png):
        end = start + 8 + int.from_bytes(png[start : start + 4], "big")
        if end + 4 > len(png):
            return
        png[end : end + 4] = zlib.crc32(png[start + 4 : end]).to_bytes(4, "big")
        start = end + 4


async def decode_all(numbered: Iterator[tuple[str, bytes]], policy: DecodePolicy = POLICY) -> Tally:
    """Decode them in one pool of processes, a good image after every few.

    Raises:
        AssertionError: an outcome is not one that a mutant may have, or a good image is harmed.
        TimeoutError: a mutant has no outcome.
    """
    tally = Tally()
    decoder = SandboxedDecoder(policy, MemoryMeter(IMAGE_METRICS))
    good, expected = _good_image()
    began = time.monotonic()

    async def decode_some() -> None:
        for number, (name, body) in enumerate(numbered, start=1):
            code = await _outcome(decoder, body)
            tally.outcomes[name, code] += 1
            if number % GOOD_EVERY == 0:
                async with asyncio.timeout(PATIENCE_S):
                    image = await decoder.decode(good, GEOMETRY)
                assert np.array_equal(image.pixels, expected), "a good image is harmed"
                tally.good += 1

    await decoder.start()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(decode_some())
    finally:
        await decoder.close()
    tally.seconds = time.monotonic() - began
    return tally


async def _outcome(decoder: SandboxedDecoder, body: bytes) -> str:
    code = "decoded"
    try:
        async with asyncio.timeout(PATIENCE_S):
            image = await decoder.decode(body, GEOMETRY)
    except Reject as reject:
        code = reject.code
    else:
        assert isinstance(image, DecodedImage)
        assert image.pixels.shape == (GEOMETRY.crop, GEOMETRY.crop, 3)
        assert image.pixels.dtype == np.uint8
    assert code == "decoded" or (code in CODES and Code.stage(code) == "decode"), code
    return code


def _good_image() -> tuple[bytes, Pixels]:
    """A file, and the pixels that it must come out with: it is of the size that the model sees."""
    ramp = np.arange(GEOMETRY.crop, dtype=np.uint8) * 4
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.full((64, 64), 7, np.uint8)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


def _format_of(body: bytes) -> str | None:
    """What Pillow takes it for, by its header alone."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(body)) as image:
            return image.format
    except Exception:
        return None


def odd_images(test_data: Path | None) -> list[bytes]:
    if test_data is None:
        return []
    return [path.read_bytes() for path in sorted((test_data / "odd-images").iterdir())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    folder = os.environ.get("CLIPSTREAM_TEST_DATA")
    data = Path(folder) if folder else None
    if data is None:
        photos = [image.body for image in demo_images(options.seed, PHOTOS)]
    else:
        photos = jpegs(data / "photos")
    odd = odd_images(data)
    files = originals(photos, odd)
    rng = random.Random(options.seed)
    tally = asyncio.run(decode_all(mutants(files, options.mutants, rng)))
    print(tally)
    figures = {
        "mutants": tally.outcomes.total(),
        "good_images": tally.good,
        "outcomes": {
            name: {code: n for (of, code), n in sorted(tally.outcomes.items()) if of == name}
            for name in FORMATS
        },
        "photographs": len(photos),
        "odd_images": len(odd),
        "seed": options.seed,
        "seconds": round(tally.seconds),
        "commit": commit(),
    }
    options.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
