"""A full-size ViT-B/32 gives what transformers' own functions give."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.records import Pixels, Vector
from tests.rigs.stages.clip_checkpoints import write_full_size_checkpoint

SIDE = 224
TOLERANCE = 1e-4
MAX_IMAGES = 8
THREADS = 2

PROMPTS = (
    "a cat",
    "a photo of a cat",
    "",
    "A  Photo of\tTWO cafés - and a 猫 at 10:45, isn't it?",
    "a bad photo of the " + "very " * 8 + "small cat",
    "cat",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("vit-b-32")
    yield write_full_size_checkpoint(directory)
    shutil.rmtree(directory)  # 600 MB, which pytest would keep for three runs


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> ClipEncoder:
    return ClipEncoder.load(
        ModelPolicy(directory=checkpoint, device="cpu", precision="fp32", threads=THREADS)
    )


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> CLIPModel:
    return CLIPModel.from_pretrained(checkpoint, dtype=torch.float32, local_files_only=True)


def originals() -> list[Image.Image]:
    data = os.environ.get("CLIPSTREAM_TEST_DATA")
    files = sorted((Path(data) / "photos").glob("*.jpg"))[:MAX_IMAGES] if data else []
    if files:
        return [Image.open(file).convert("RGB") for file in files]
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (MAX_IMAGES, 12, 16, 3), dtype=np.uint8)
    return [Image.fromarray(image).resize((640, 480)) for image in coarse]


def unit(features: torch.Tensor) -> Vector:
    vectors: Vector = torch.nn.functional.normalize(features, dim=-1).numpy()
    return vectors


def test_images_equal_get_image_features(
    checkpoint: Path, encoder: ClipEncoder, reference: CLIPModel
) -> None:
    processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
    images = originals()
    whole = processor(images, return_tensors="pt")["pixel_values"]
    # The same processor, stopped before its arithmetic, gives the pixels that a decoder gives.
    unscaled = processor(images, do_rescale=False, do_normalize=False, return_tensors="np")
    pixels: Pixels = np.ascontiguousarray(
        np.transpose(unscaled["pixel_values"], (0, 2, 3, 1)).astype(np.uint8)
    )
    assert pixels.shape[1:] == (SIDE, SIDE, 3)
    with torch.inference_mode():
        expected = unit(reference.get_image_features(pixel_values=whole).pooler_output)
    np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=TOLERANCE, rtol=0)


def test_prompts_equal_get_text_features(
    checkpoint: Path, encoder: ClipEncoder, reference: CLIPModel
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    together = tokenizer(list(PROMPTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = unit(reference.get_text_features(**together).pooler_output)
        alone = [
            unit(
                reference.get_text_features(
                    **tokenizer([prompt], return_tensors="pt")
                ).pooler_output
            )
            for prompt in PROMPTS
        ]
    vectors = encoder.encode_texts(PROMPTS)
    np.testing.assert_allclose(vectors, expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(vectors, np.concatenate(alone), atol=TOLERANCE, rtol=0)


def test_the_logit_scale_is_the_exponential_of_the_parameter(
    encoder: ClipEncoder, reference: CLIPModel
) -> None:
    assert encoder.model.logit_scale == pytest.approx(reference.logit_scale.exp().item(), abs=1e-6)
    assert encoder.model.dimension == 512
