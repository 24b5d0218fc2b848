"""The encoder on a real CUDA device. Run with a GPU: ``make gpu``."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import Pixels, Vector
from tests.rigs.stages.clip_checkpoints import write_full_size_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

LARGEST = 64
SIDE = 224
FP32_TOLERANCE = 1e-4
BF16_COSINE = 0.9995


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_full_size_checkpoint(tmp_path_factory.mktemp("vit-b-32"))


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (2 * LARGEST, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(SIDE // 14, axis=1).repeat(SIDE // 14, axis=2)


@pytest.fixture(scope="module")
def exact(checkpoint: Path, pixels: Pixels) -> Vector:
    encoder = ClipEncoder.load(ModelPolicy(directory=checkpoint, device="cpu", precision="fp32"))
    return encoder.encode_images(pixels)


def load(checkpoint: Path, **changed: str) -> ClipEncoder:
    policy = ModelPolicy.model_validate({"directory": checkpoint, "device": "cuda", **changed})
    return ClipEncoder.load(policy, LARGEST)


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> ClipEncoder:
    """As by default: bf16, compiled."""
    return load(checkpoint)


def test_a_gpu_computes_in_bf16_unless_told_otherwise(encoder: ClipEncoder) -> None:
    assert (encoder.model.engine, encoder.model.precision) == ("torch-cuda", "bf16")
    assert encoder.lanes > 1


def test_fp32_equals_the_cpu(checkpoint: Path, pixels: Pixels, exact: Vector) -> None:
    for compiled in ("on", "off"):
        vectors = load(checkpoint, precision="fp32", compile=compiled).encode_images(pixels)
        np.testing.assert_allclose(vectors, exact, atol=FP32_TOLERANCE, rtol=0)


def test_bf16_is_close_to_fp32(encoder: ClipEncoder, pixels: Pixels, exact: Vector) -> None:
    cosines = (encoder.encode_images(pixels) * exact).sum(axis=1)
    assert cosines.min() > BF16_COSINE


@pytest.mark.parametrize("count", [1, 7, 8, 9, 40, LARGEST, LARGEST + 1, 2 * LARGEST])
def test_a_batch_of_any_size_gives_each_image_its_own_vector(
    encoder: ClipEncoder, pixels: Pixels, exact: Vector, count: int
) -> None:
    vectors = encoder.encode_images(pixels[:count])
    assert vectors.shape == (count, encoder.model.dimension)
    nearest = (vectors @ exact.T).argmax(axis=1)
    np.testing.assert_array_equal(nearest, np.arange(count))
    np.testing.assert_array_equal(vectors, encoder.encode_images(pixels[:count]))


def test_callers_at_once_get_what_they_would_get_alone(
    encoder: ClipEncoder, pixels: Pixels
) -> None:
    parts = [pixels[start : start + 16] for start in range(0, len(pixels), 16)] * 20
    alone = [encoder.encode_images(part) for part in parts[: len(pixels) // 16]]
    with ThreadPoolExecutor(2 * encoder.lanes) as threads:
        together = list(threads.map(encoder.encode_images, parts))
    for index, vectors in enumerate(together):
        np.testing.assert_array_equal(vectors, alone[index % len(alone)])


def test_through_the_batcher_each_gets_its_own_row(
    encoder: ClipEncoder, pixels: Pixels, exact: Vector
) -> None:
    async def scenario() -> list[Vector]:
        policy = BatchPolicy(max_size=LARGEST)
        batcher = Batcher(encoder, policy, SystemClock(), MemoryMeter(IMAGE_METRICS))
        rows = await asyncio.gather(*(batcher.encode(image) for image in pixels))
        await batcher.close()
        return list(rows)

    cosines = (np.stack(asyncio.run(scenario())) * exact).sum(axis=1)
    assert cosines.min() > BF16_COSINE
