"""What every encoder promises, the fake and the real one alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Halt
from pipeline.ports import Encoder
from pipeline.records import Pixels

BATCH = 5
TOLERANCE = 1e-5

PROMPTS = ("a cat", "a photo of a cat", "cat", "", "two cats of", "cat")


@pytest.fixture(
    scope="module",
    params=[
        "memory",
        pytest.param("fp32", marks=pytest.mark.component),
        pytest.param("int8", marks=pytest.mark.component),
    ],
)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    if request.param == "memory":
        return MemoryEncoder()
    # Here: torch and transformers take seconds to import.
    from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
    from tests.rigs.stages.clip_checkpoints import write_small_checkpoint
    from tests.rigs.stages.int8 import CALIBRATED_ON, calibrated, pictures

    directory: Path = tmp_path_factory.mktemp("checkpoint")
    policy = {
        "directory": write_small_checkpoint(directory),
        "device": "cpu",
        "precision": request.param,
        "threads": 1,
    }
    if request.param == "int8":
        images = pictures(CALIBRATED_ON)
        policy["calibration"] = calibrated(directory, directory / "int8", images)
    return ClipEncoder.load(ModelPolicy.model_validate(policy))


@pytest.fixture
def pixels(encoder: Encoder) -> Pixels:
    side = encoder.geometry.crop
    random = np.random.default_rng(0)
    return random.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)


def test_it_says_what_it_is(encoder: Encoder) -> None:
    model = encoder.model
    assert model.name
    assert model.revision
    assert model.precision in ("fp32", "int8")
    assert model.engine
    assert model.dimension > 0
    assert model.logit_scale > 0
    assert encoder.geometry.crop <= encoder.geometry.resize


def test_images_become_unit_vectors(encoder: Encoder, pixels: Pixels) -> None:
    vectors = encoder.encode_images(pixels)
    assert vectors.shape == (BATCH, encoder.model.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=TOLERANCE)


def test_rows_keep_the_order_of_the_images(encoder: Encoder, pixels: Pixels) -> None:
    together = encoder.encode_images(pixels)
    alone = np.concatenate([encoder.encode_images(image[None]) for image in pixels])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_the_same_batch_gives_the_same_bits(encoder: Encoder, pixels: Pixels) -> None:
    first = encoder.encode_images(pixels)
    np.testing.assert_array_equal(first, encoder.encode_images(pixels.copy()))


def test_different_images_give_different_vectors(encoder: Encoder, pixels: Pixels) -> None:
    vectors = encoder.encode_images(pixels)
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    assert distances[~np.eye(BATCH, dtype=bool)].min() > 10 * TOLERANCE


def test_images_are_neither_changed_nor_kept(encoder: Encoder, pixels: Pixels) -> None:
    before = pixels.copy()
    vectors = encoder.encode_images(pixels)
    kept = vectors.copy()
    np.testing.assert_array_equal(pixels, before)
    pixels[:] = 0
    encoder.encode_images(pixels)
    np.testing.assert_array_equal(vectors, kept)


def test_read_only_and_mirrored_arrays_are_taken(encoder: Encoder, pixels: Pixels) -> None:
    expected = encoder.encode_images(pixels)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode_images(pixels), expected)
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_array_equal(encoder.encode_images(mirrored), expected)


def test_pixels_of_another_size_or_type_halt(encoder: Encoder, pixels: Pixels) -> None:
    for wrong in (pixels[:, :-1], pixels[0], pixels.astype(np.float32)):
        with pytest.raises(Halt) as caught:
            encoder.encode_images(wrong)  # type: ignore[arg-type]
        assert caught.value.code == "encode.wrong_shape"


def test_prompts_become_unit_vectors_in_their_order(encoder: Encoder) -> None:
    vectors = encoder.encode_texts(PROMPTS)
    assert vectors.shape == (len(PROMPTS), encoder.model.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=TOLERANCE)
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        np.testing.assert_allclose(vector, encoder.encode_texts([prompt])[0], atol=TOLERANCE)
    assert np.linalg.norm(vectors[0] - vectors[1]) > 10 * TOLERANCE


def test_no_prompts_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode_texts([]).shape == (0, encoder.model.dimension)


def test_a_prompt_that_is_too_long_halts_and_is_named(encoder: Encoder) -> None:
    prompt = "cat " * 100
    with pytest.raises(Halt) as caught:
        encoder.encode_texts(["a cat", prompt])
    assert caught.value.code == "model.prompt_too_long"
    assert prompt in caught.value.message
    assert "10" in caught.value.message  # 100 words, or 102 tokens with start and end
