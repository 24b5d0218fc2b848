"""Files to decode, and what the transformers processor makes of them."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline.adapters.decode.pool import MAX_FILE_BYTES, SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import DecodedImage, ImageGeometry, Pixels

SENSOR_NOISE = 4.0
"""Standard deviation, of 255: a phone's in good light. Enlarged pictures would be smooth else."""

STAND_INS = 12


class Reference:
    """Decodes by the plainest code: whole image, upright, over white, then the processor."""

    def __init__(self, geometry: ImageGeometry) -> None:
        # Only here: importing it takes seconds, and most tests want files alone.
        from transformers import CLIPImageProcessorPil

        self._processor = CLIPImageProcessorPil(
            size={"shortest_edge": geometry.resize},
            crop_size={"height": geometry.crop, "width": geometry.crop},
            do_rescale=False,
            do_normalize=False,
        )

    def pixels(self, body: bytes) -> Pixels:
        with Image.open(io.BytesIO(body)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        values = self._processor(flat.convert("RGB"), return_tensors="np")["pixel_values"]
        pixels: Pixels = np.asarray(values)[0].transpose(1, 2, 0).astype(np.uint8)
        return pixels


class OpenAiReference:
    """The preprocessing of openai/CLIP (``_transform`` in clip/clip.py: ``Resize(n_px, BICUBIC)``,
    ``CenterCrop(n_px)``) and of open_clip, by torchvision's formulae for PIL images
    (``_compute_resized_output_size`` and ``center_crop`` in transforms/functional.py)."""

    def __init__(self, geometry: ImageGeometry) -> None:
        self._geometry = geometry

    def pixels(self, body: bytes) -> Pixels:
        size, edge = self._geometry.resize, self._geometry.crop
        with Image.open(io.BytesIO(body)) as opened:
            image = opened.convert("RGB")
        short, long = sorted(image.size)
        new_long = int(size * long / short)
        wide = image.width > image.height
        image = image.resize(
            (new_long, size) if wide else (size, new_long), Image.Resampling.BICUBIC
        )
        top = int(round((image.height - edge) / 2.0))  # noqa: RUF046 - as it is written there
        left = int(round((image.width - edge) / 2.0))  # noqa: RUF046
        return np.asarray(image.crop((left, top, left + edge, top + edge)))


class Decoding:
    """A decoder of the product in its own event loop."""

    def __init__(self, runner: asyncio.Runner, decoder: SandboxedDecoder) -> None:
        self._runner = runner
        self._decoder = decoder

    def all(self, bodies: list[bytes], geometry: ImageGeometry) -> list[DecodedImage]:
        async def gather() -> list[DecodedImage]:
            return await asyncio.gather(*(self._decoder.decode(body, geometry) for body in bodies))

        return self._runner.run(gather())

    def one(
        self, body: bytes, geometry: ImageGeometry, content_encoding: str | None = None
    ) -> DecodedImage | Reject:
        """What became of a file."""

        async def decode() -> DecodedImage | Reject:
            try:
                return await self._decoder.decode(body, geometry, content_encoding)
            except Reject as reject:
                return reject

        return self._runner.run(decode())


@contextmanager
def decoding(policy: DecodePolicy, max_file_bytes: int = MAX_FILE_BYTES) -> Iterator[Decoding]:
    decoder = SandboxedDecoder(policy, MemoryMeter(IMAGE_METRICS), max_file_bytes=max_file_bytes)
    with asyncio.Runner() as runner:
        runner.run(decoder.start())
        try:
            yield Decoding(runner, decoder)
        finally:
            runner.run(decoder.close())


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """The hardest content: neighbours that share nothing, over the whole range."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    seeded = np.random.default_rng(width * 100_003 + height)
    shape = (height, width, channels) if channels > 1 else (height, width)
    shades = np.array([0, 1, 127, 254, 255], np.uint8)
    return Image.fromarray(shades[seeded.integers(0, len(shades), shape)])


def as_file(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def jpegs(folder: Path) -> list[bytes]:
    """The files of a folder that are named as JPEGs, in the order of their names."""
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def photos() -> list[bytes]:
    """Photographs where the test data is at hand, else pictures of their statistics in JPEG."""
    data = os.environ.get("CLIPSTREAM_TEST_DATA")
    if data is not None:
        return jpegs(Path(data, "photos"))
    sizes = ((640, 480), (333, 500), (1280, 720), (400, 400))
    return [as_file(clouds(seed, *sizes[seed % 4]), "JPEG") for seed in range(STAND_INS)]


def clouds(seed: int, width: int, height: int) -> Image.Image:
    """Coloured patches of all sizes, each half as strong as those of twice its size, and grain."""
    seeded = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 127, np.float32)
    for octave in range(8):
        patches = seeded.integers(0, 256, (2 << octave, 2 << octave, 3), dtype=np.uint8)
        layer = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(layer, np.float32) - 127) * 0.5 ** (octave / 2)
    return _as_image(pixels + seeded.normal(0, SENSOR_NOISE, pixels.shape))


def enlarged(body: bytes, width: int, height: int) -> Image.Image:
    """A photograph as a camera of that many pixels might have taken it: resized, and with the
    noise of a sensor."""
    seeded = np.random.default_rng(len(body))
    image = Image.open(io.BytesIO(body)).convert("RGB")
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return _as_image(pixels + seeded.normal(0, SENSOR_NOISE, pixels.shape))


def _as_image(pixels: npt.NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
