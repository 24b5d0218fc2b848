"""A checkpoint that would run and give other scores is refused, with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.errors import Halt
from tests.rigs.stages.clip_checkpoints import (
    SMALL_IMAGE,
    write_preprocessor,
    write_small_checkpoint,
)

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("original"))


@pytest.fixture
def checkpoint(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny-clip"))


def edit_json(name: str, **changed: Any) -> Damage:
    def damage(directory: Path) -> None:
        path = directory / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return damage


def tower(name: str, **changed: Any) -> Damage:
    def damage(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        edit_json("config.json", **{name: config[name] | changed})(directory)

    return damage


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(directory: Path) -> None:
        path = directory / "model.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})

    return damage


def remove(name: str) -> Damage:
    return lambda directory: (directory / name).unlink()


def cut_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle_weights(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def preprocessor(**changed: Any) -> Damage:
    return lambda directory: write_preprocessor(directory, SMALL_IMAGE, **changed)


def foreign_tokenizer(directory: Path) -> None:
    path = directory / "vocab.json"
    vocabulary = json.loads(path.read_text())
    path.write_text(json.dumps({token: number + 1 for token, number in vocabulary.items()}))


def infinite(weights: dict[str, torch.Tensor]) -> None:
    weights["visual_projection.weight"][0, 0] = float("inf")


WEIGHT = "vision_model.encoder.layers.1.mlp.fc1.weight"


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (remove("config.json"), "model.incomplete", "config.json"),
        (remove("preprocessor_config.json"), "model.incomplete", "preprocessor_config.json"),
        (remove("vocab.json"), "model.incomplete", "vocab.json"),
        (pickle_weights, "model.incomplete", "pin a revision that has safetensors"),
        (cut_weights, "model.incomplete", "cannot be read"),
        (edit_weights(lambda weights: weights.pop(WEIGHT)), "model.incomplete", WEIGHT),
        (
            edit_weights(lambda weights: weights.update(extra=torch.zeros(1))),
            "model.incomplete",
            "weights unknown: extra;",
        ),
        (
            edit_weights(lambda weights: weights.update({WEIGHT: torch.zeros(3, 3)})),
            "model.incomplete",
            f"weights of another shape: {WEIGHT} is (3, 3) against (64, 32);",
        ),
        (
            edit_weights(lambda weights: weights.update({WEIGHT: weights[WEIGHT].to(torch.int8)})),
            "model.unsupported",
            "dtype I8",
        ),
        (edit_weights(infinite), "model.not_finite", "model.precision"),
        (edit_json("config.json", model_type="siglip"), "model.unsupported", "'siglip'"),
        (edit_json("config.json", text_config=7), "model.unsupported", "config.json"),
        (
            edit_json("config.json", quantization_config={"bits": 4}),
            "model.unsupported",
            "quantized",
        ),
        (
            lambda directory: (directory / "adapter_config.json").write_text("{}"),
            "model.unsupported",
            "adapter",
        ),
        (
            lambda directory: (directory / "config.json").write_text("{"),
            "model.incomplete",
            "config.json",
        ),
        (
            tower("vision_config", patch_size=[8, 8]),
            "model.unsupported",
            "patch_size in config.json is [8, 8]",
        ),
        (
            tower("vision_config", num_channels=1),
            "model.unsupported",
            "num_channels in config.json is 1",
        ),
        (
            tower("text_config", hidden_act="mish"),
            "model.unsupported",
            "hidden_act in config.json is 'mish'",
        ),
        (tower("text_config", layer_norm_eps=None), "model.unsupported", "layer_norm_eps"),
        (tower("vision_config", num_hidden_layers=0), "model.unsupported", "must be 1 or more"),
        (edit_json("config.json", projection_dim=None), "model.unsupported", "projection_dim"),
        (tower("text_config", eos_token_id=5), "model.unsupported", "end token"),
        (preprocessor(resample=2), "model.unsupported", "resample = 2"),
        (preprocessor(do_center_crop=False), "model.unsupported", "do_center_crop = False"),
        (preprocessor(rescale_factor=1 / 127.5), "model.unsupported", "must be 1/255"),
        (preprocessor(size={"height": 32, "width": 32}), "model.unsupported", "shortest_edge"),
        (preprocessor(crop_size={"height": 32, "width": 16}), "model.unsupported", "crop_size"),
        (preprocessor(size=24), "model.unsupported", "inside the resized image"),
        (preprocessor(crop_size=24), "model.unsupported", "the vision tower reads 32"),
        (preprocessor(image_std=[0.5, 0, 0.5]), "model.unsupported", "image_std"),
        (preprocessor(image_mean=[0.5]), "model.unsupported", "image_mean"),
        (
            preprocessor(image_processor_type="ViTImageProcessor"),
            "model.unsupported",
            "image_processor_type",
        ),
        (foreign_tokenizer, "model.unsupported", "highest id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_that_would_give_other_scores_is_refused_with_the_reason(
    checkpoint: Path, damage: Damage, code: str, says: str
) -> None:
    damage(checkpoint)
    with pytest.raises(Halt) as caught:
        ClipEncoder.load(ModelPolicy(directory=checkpoint, device="cpu"))
    assert caught.value.code == code
    assert says in caught.value.message


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Halt, match="no-such-place is not a directory"):
        ClipEncoder.load(ModelPolicy(directory=tmp_path / "no-such-place"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "acme/tiny-clip"}, "write the 40-digit commit hash"),
        ({"revision": "main"}, "revision"),
        ({"directory": "/models/tiny", "revision": "0" * 40}, "give one of them"),
        ({"directory": 5}, "directory"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_a_model_that_is_not_pinned_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ModelPolicy.model_validate(given)
