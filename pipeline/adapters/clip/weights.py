"""Reads a checkpoint's weights and checks that they are those of its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pipeline.adapters.clip.checkpoint import CONFIG, Checkpoint, first_line, weight_files
from pipeline.adapters.clip.layers import Weights
from pipeline.errors import Halt

FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")  # safetensors' names

_CONSTANT = "position_ids"
"""What transformers saved beside the weights in earlier versions."""

Shape = tuple[int, ...]


def read_weights(checkpoint: Checkpoint, config: Any) -> Weights:
    """The weights that a CLIPModel of ``config`` has.

    Raises:
        Halt: ``model.unsupported``: weights that are not in floating point. ``model.incomplete``: a
            weight is missing, of another shape or unknown, or a file is damaged.
    """
    found: dict[str, torch.Tensor] = {}
    for path in weight_files(checkpoint.directory):
        found.update(_read(checkpoint, path))
    expected = dict(_shapes(config))
    for what, names in {
        "missing": expected.keys() - found.keys(),
        "unexpected": found.keys() - expected.keys(),
        "mismatched": {
            name for name in expected.keys() & found.keys() if found[name].shape != expected[name]
        },
    }.items():
        if names:
            raise Halt(
                "model.incomplete",
                f"model {checkpoint}: {len(names)} {what} weights "
                f"({', '.join(sorted(names)[:3])}, …); the weights are not those of {CONFIG}: "
                "fetch or save the checkpoint again",
            )
    return found


def _read(checkpoint: Checkpoint, path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name.endswith(_CONSTANT):
                    continue
                dtype = tensors.get_slice(name).get_dtype()
                if dtype not in FLOAT_DTYPES:
                    raise Halt(
                        "model.unsupported",
                        f"model {checkpoint}: {name} is of dtype {dtype}; give a checkpoint in "
                        f"one of {', '.join(FLOAT_DTYPES)}",
                    )
                # A copy, because the file is mapped and could be cut under a running worker.
                yield name, tensors.get_tensor(name).to(torch.float32, copy=True)
    except (SafetensorError, OSError) as error:
        raise Halt(
            "model.incomplete",
            f"model {checkpoint}: {path.name} cannot be read ({first_line(error)}); fetch it again",
        ) from error


def _shapes(config: Any) -> Iterator[tuple[str, Shape]]:
    """Every weight of transformers' ``CLIPModel``."""
    text, vision, dimension = config.text_config, config.vision_config, config.projection_dim
    yield "logit_scale", ()
    yield "text_projection.weight", (dimension, text.hidden_size)
    yield "visual_projection.weight", (dimension, vision.hidden_size)

    name = "text_model"
    yield f"{name}.embeddings.token_embedding.weight", (text.vocab_size, text.hidden_size)
    positions = text.max_position_embeddings
    yield f"{name}.embeddings.position_embedding.weight", (positions, text.hidden_size)
    yield from _layer_shapes(name, text)
    yield from _with_bias(f"{name}.final_layer_norm", (text.hidden_size,))

    name = "vision_model"
    width, edge = vision.hidden_size, vision.patch_size
    yield f"{name}.embeddings.class_embedding", (width,)
    yield f"{name}.embeddings.patch_embedding.weight", (width, 3, edge, edge)
    positions = (vision.image_size // edge) ** 2 + 1
    yield f"{name}.embeddings.position_embedding.weight", (positions, width)
    yield from _with_bias(f"{name}.pre_layrnorm", (width,))
    yield from _layer_shapes(name, vision)
    yield from _with_bias(f"{name}.post_layernorm", (width,))


def _layer_shapes(tower: str, config: Any) -> Iterator[tuple[str, Shape]]:
    width, inner = config.hidden_size, config.intermediate_size
    for number in range(config.num_hidden_layers):
        layer = f"{tower}.encoder.layers.{number}"
        for each in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _with_bias(f"{layer}.self_attn.{each}", (width, width))
        yield from _with_bias(f"{layer}.mlp.fc1", (inner, width))
        yield from _with_bias(f"{layer}.mlp.fc2", (width, inner))
        for each in ("layer_norm1", "layer_norm2"):
            yield from _with_bias(f"{layer}.{each}", (width,))


def _with_bias(name: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
