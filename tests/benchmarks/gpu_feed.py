"""What fills a GPU: JPEGs decoded on the processor's cores, or by the device itself (nvJPEG)."""

from __future__ import annotations

import asyncio
import io
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from pipeline.adapters.clip.encoder import ClipEncoder
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.metrics import DECODER_RESTARTS, IMAGE_METRICS
from pipeline.records import Pixels, Vector
from tests.benchmarks.figures import Figure

SECONDS = 4.0
IN_FLIGHT = 1024
BATCH = 256
NVJPEG_BATCH = 128


async def from_files(
    encoder: ClipEncoder, files: Sequence[bytes], mode: str, processes: int
) -> float:
    """Images a second of one worker's event loop: a coroutine each, decoded in ``processes``
    children, encoded in batches."""
    policy = DecodePolicy.model_validate({"mode": mode, "processes": processes})
    meter = MemoryMeter(IMAGE_METRICS)
    decoder = SandboxedDecoder(policy, meter)
    await decoder.start()
    batcher = Batcher(encoder, BatchPolicy(max_size=BATCH), SystemClock(), meter)
    endless = itertools.cycle(files)
    ends = time.monotonic() + SECONDS
    count = 0

    async def images() -> None:
        nonlocal count
        while time.monotonic() < ends:
            image = await decoder.decode(next(endless), encoder.geometry)
            await batcher.encode(image.pixels)
            count += 1

    begun = time.monotonic()
    await asyncio.gather(*(images() for _ in range(IN_FLIGHT)))
    taken = time.monotonic() - begun
    await batcher.close()
    await decoder.close()
    assert meter.value(DECODER_RESTARTS) == 0, "a decoder was replaced"
    return count / taken


def cores(encoder: ClipEncoder, files: Sequence[bytes], console: Console) -> list[Figure]:
    """How fast this machine's cores feed its device."""
    figures = []
    for mode, processes in itertools.product(("strict", "fast"), (4, 8, 16)):
        rate = asyncio.run(from_files(encoder, files, mode, processes))
        console.print(
            f"{mode}, {processes} decoder processes: {rate:,.0f} images/s decode to vector"
        )
        figures.append(Figure(f"gpu.fed_{mode}_{processes}", rate, "images/s"))
    return figures


def nvjpeg(encoder: ClipEncoder, files: Sequence[bytes], console: Console) -> list[Figure]:
    """The device's own JPEG decoder through torchvision, resized on the device; its fidelity is the
    centred cosine of embeddings against those of the reference's pixels."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except (ImportError, RuntimeError) as error:
        console.print(f"nvJPEG not measured: {error}")
        return []
    encoded = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]

    def decode(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        planes: list[torch.Tensor] = decode_jpeg(batch, mode=ImageReadMode.RGB, device="cuda")
        return [_square(each) for each in planes]

    many = list(itertools.islice(itertools.cycle(encoded), NVJPEG_BATCH))
    rate = NVJPEG_BATCH / _seconds(lambda: decode(many))
    alone = NVJPEG_BATCH / _seconds(
        lambda: decode_jpeg(many, mode=ImageReadMode.RGB, device="cuda")
    )
    pixels = torch.stack(decode(encoded)).permute(0, 2, 3, 1).cpu().numpy()
    reference = np.stack([_reference(file) for file in files])
    apart = np.abs(pixels.astype(int) - reference)
    cosines = _centred(encoder.encode_images(pixels), encoder.encode_images(reference))
    console.print(
        f"nvJPEG: {alone:,.0f} images/s, with the resize {rate:,.0f}; from the reference "
        f"{apart.max()} of 255 at most, {apart.mean():.2f} on average; centred cosine at least "
        f"{cosines.min():.4f}, median {np.median(cosines):.5f}"
    )
    return [
        Figure("gpu.nvjpeg", alone, "images/s"),
        Figure("gpu.nvjpeg_resized", rate, "images/s"),
        Figure("gpu.nvjpeg_cosine", float(cosines.min()), "centred cosine", 0.9995),
    ]


def _square(planes: torch.Tensor) -> torch.Tensor:
    """[3, height, width] to the model's [3, 224, 224] on the device, in floating point."""
    _, height, width = planes.shape
    edges = (
        (224, int(224 * width / height)) if height <= width else (int(224 * height / width), 224)
    )
    resized = torch.nn.functional.interpolate(
        planes[None].float(), size=edges, mode="bicubic", antialias=True
    )[0]
    top, left = (edges[0] - 224) // 2, (edges[1] - 224) // 2
    cut = resized[:, top : top + 224, left : left + 224]
    return cut.round().clamp(0, 255).to(torch.uint8)


def _reference(file: bytes) -> Pixels:
    image = Image.open(io.BytesIO(file)).convert("RGB")
    short = min(image.size)
    edges = tuple(224 if edge == short else int(224 * edge / short) for edge in image.size)
    resized = image.resize((edges[0], edges[1]), Image.Resampling.BICUBIC)
    left, top = (edges[0] - 224) // 2, (edges[1] - 224) // 2
    pixels: Pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)))
    return pixels


def _centred(ours: Vector, theirs: Vector) -> Vector:
    mean = theirs.mean(axis=0)
    ours, theirs = ours - mean, theirs - mean
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines: Vector = (ours * theirs).sum(axis=1) / lengths
    return cosines


def _seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        begun = time.monotonic()
        work()
        torch.cuda.synchronize()
        times.append(time.monotonic() - begun)
    return statistics.median(times)
