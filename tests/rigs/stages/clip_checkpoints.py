"""CLIP networks of seeded random weights, and checkpoints written as transformers writes them."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPModel

from pipeline.adapters.clip.model import ClipModel, Preprocessing
from pipeline.ports import PromptTokens
from pipeline.records import ImageGeometry

START, END = "<|startoftext|>", "<|endoftext|>"

SMALL_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SMALL_IMAGE = 32
SMALL_MAX_TOKENS = 24

DIMENSION = 16
END_ID = 63
"""A network's end token, the highest."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def write_small_checkpoint(directory: Path) -> Path:
    """Two layers a tower, 16 dimensions, 32 x 32 pixels; milliseconds an image. The directory
    must exist."""
    end = write_small_tokenizer(directory)
    write_preprocessor(directory, SMALL_IMAGE)
    return _write_weights(directory, _small_config(end))


def write_full_size_checkpoint(directory: Path, *, layers: int = 12) -> Path:
    """ViT-B/32 at its full size (600 MB), with CLIP's own tokenizer where the test data has it.

    With fewer ``layers`` a tower it has the same shapes, and costs as much less to write, load and
    run."""
    data = os.environ.get("CLIPSTREAM_TEST_DATA")
    if data:
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(Path(data) / "clip-tokenizer" / name, directory / name)
        end = json.loads((directory / "vocab.json").read_text())[END]
    else:
        end = write_small_tokenizer(directory)
    config = CLIPConfig(
        vision_config={"num_hidden_layers": layers},
        text_config={
            "num_hidden_layers": layers,
            "bos_token_id": end - 1,
            "eos_token_id": end,
        },
        # A trained model's, which makes differences of embeddings differences of scores.
        logit_scale_init_value=math.log(100),
    )
    write_preprocessor(directory, 224)
    return _write_weights(directory, config)


def write_small_tokenizer(directory: Path) -> int:
    """Bytes and a few merges; returns the end token's id, which is the highest."""
    letters = sorted(ByteLevel.alphabet())
    merges = [("a", "t</w>"), ("c", "at</w>"), ("o", "f</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += [START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n")
    return vocabulary[END]


def write_preprocessor(directory: Path, side: int, **changed: Any) -> None:
    """As the original checkpoints have it."""
    content = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_resize": True,
        "size": side,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": side,
        "do_normalize": True,
        "image_mean": [*MEAN],
        "image_std": [*STD],
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(content | changed))


def _write_weights(directory: Path, config: CLIPConfig) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(directory)
    return directory


def network(vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None) -> CLIPModel:
    """A CLIP with two layers per tower. ``vision`` and ``text`` change their configurations."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = CLIPModel(_small_config(END_ID, vision, text))
    made.train(False)  # without dropout, as from_pretrained leaves it
    return made


def _small_config(
    end: int, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> CLIPConfig:
    """``end`` is the end token's id, the highest."""
    return CLIPConfig(
        projection_dim=DIMENSION,
        vision_config={**SMALL_TOWER, "image_size": SMALL_IMAGE, "patch_size": 8, **(vision or {})},
        text_config={
            **SMALL_TOWER,
            "vocab_size": end + 1,
            "max_position_embeddings": SMALL_MAX_TOKENS,
            "bos_token_id": end - 1,
            "eos_token_id": end,
            **(text or {}),
        },
    )


def as_read(
    of: CLIPModel,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> ClipModel:
    """The network as ``read_model`` would return it; its tokenizer returns nothing."""
    return ClipModel(
        of.state_dict(),
        of.config,
        PromptTokens(lambda prompts: [], SMALL_MAX_TOKENS),
        Preprocessing(ImageGeometry(SMALL_IMAGE, SMALL_IMAGE), mean, std),
    )
