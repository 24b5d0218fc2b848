"""The committed checkpoint of the demo does what its card says, in the pipeline's own hands."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.label_files import load_label_sets
from pipeline.records import ImageGeometry
from workers.demo import train
from workers.demo.accuracy import LABELS_FILE, Measurement, decoded
from workers.demo.odd_images import odd_images
from workers.demo.shapes import LABELS, NOTHING, demo_images

HELD_OUT_SEED = 20_260_101
"""Not among the seeds of the recipe."""
PROMISED_ACCURACY = 0.95


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder.load(
        ModelPolicy(directory=train.MODEL_DIRECTORY, device="cpu", precision="fp32", threads=1)
    )


@pytest.fixture(scope="module")
def measurement(encoder: ClipEncoder) -> Measurement:
    return Measurement.of(encoder, demo_images(HELD_OUT_SEED, 5 * len(LABELS)))


def record() -> Any:
    return json.loads((train.MODEL_DIRECTORY / "training.json").read_text())


def test_new_images_are_told_apart(measurement: Measurement) -> None:
    assert measurement.accuracy >= PROMISED_ACCURACY


def test_scores_mean_what_they_say(encoder: ClipEncoder, measurement: Measurement) -> None:
    assert measurement.calibration_error(encoder.model.logit_scale) < 0.05


def test_no_image_of_the_measurement_was_trained_on() -> None:
    recipe = train.Recipe()
    seeds = [recipe.seed, recipe.calibration_seed, recipe.held_out_seed, HELD_OUT_SEED]
    assert len(set(seeds)) == len(seeds)


def test_oddities_that_can_be_looked_at_are_recognised(encoder: ClipEncoder) -> None:
    odd = itertools.chain.from_iterable(map(odd_images, range(12)))
    readable = [image for image in odd if image.truth is not None]
    assert Measurement.of(encoder, readable).accuracy >= PROMISED_ACCURACY


def test_the_label_set_and_the_generator_have_the_same_labels() -> None:
    (label_set,) = load_label_sets([LABELS_FILE])
    assert tuple(label.name for label in label_set.labels) == LABELS
    assert [label.name for label in label_set.labels if label.neutral] == [NOTHING]
    assert len(LABELS) >= 30


def test_the_committed_recipe_and_tokenizer_are_those_of_the_script(tmp_path: Path) -> None:
    """A changed recipe, caption or tokenizer needs a new training run, and this says so."""
    recipe = json.loads(json.dumps(asdict(train.Recipe())))
    assert record()["recipe"] == recipe
    train.build_tokenizer(train.corpus()).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_text() == (train.MODEL_DIRECTORY / name).read_text(), name


def test_the_card_states_the_measured_accuracy() -> None:
    card = (train.MODEL_DIRECTORY / "MODEL.md").read_text()
    stated = re.search(r"accuracy over \d+ labels \| ([\d.]+)", card)
    assert stated is not None
    measured = record()["result"]["accuracy"]
    assert float(stated[1]) == pytest.approx(measured, abs=5e-5)
    assert measured >= PROMISED_ACCURACY


def test_the_checkpoint_is_small_enough_to_live_in_the_repository() -> None:
    assert sum(path.stat().st_size for path in train.MODEL_DIRECTORY.iterdir()) < 3 * 2**20


def test_words_of_other_prompts_are_spelled_out_and_never_cut() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(train.MODEL_DIRECTORY)
    ids = tokenizer("a purple zebra, 日本!")["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.tokenize("an orange triangle") == ["an</w>", "orange</w>", "triangle</w>"]


def test_embeddings_are_those_of_transformers_alone(encoder: ClipEncoder) -> None:
    """The checkpoint is one like any other: transformers reads it without help or complaint."""
    directory = train.MODEL_DIRECTORY
    model = CLIPModel.from_pretrained(directory)  # in evaluation mode
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    processor: Any = AutoImageProcessor.from_pretrained(directory)  # type: ignore[no-untyped-call]
    prompts = ["a picture of a red circle", "nothing"]
    images = [
        image
        for image in demo_images(HELD_OUT_SEED, 40, (120, 240))
        if image.key.endswith((".jpg", ".png"))
    ][:6]
    with torch.inference_mode():
        texts = model.get_text_features(**tokenizer(prompts, padding=True, return_tensors="pt"))
        pictures = [Image.open(io.BytesIO(image.body)).convert("RGB") for image in images]
        seen = model.get_image_features(**processor(images=pictures, return_tensors="pt"))
    np.testing.assert_allclose(encoder.encode_texts(prompts), _unit(texts.pooler_output), atol=1e-5)
    ours = encoder.encode_images(
        decoded((image.body for image in images), ImageGeometry(train.IMAGE_PX, train.IMAGE_PX))
    )
    # Pixels differ by at most 1 of 255 between the two decoders.
    np.testing.assert_allclose(ours, _unit(seen.pooler_output), atol=0.05)


def _unit(features: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return torch.nn.functional.normalize(features, dim=-1).numpy()
