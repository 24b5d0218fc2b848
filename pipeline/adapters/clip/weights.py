"""Reads a checkpoint's weights and checks that they are those of its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pipeline.adapters.clip.checkpoint import CONFIG, Checkpoint, first_line, weight_files
from pipeline.adapters.clip.layers import Weights
from pipeline.errors import Halt

FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")  # safetensors' names

SHOWN = 3
"""Names in a message."""

_CONSTANT = "position_ids"
"""What transformers saved beside the weights in earlier versions."""

Shape = tuple[int, ...]


def read_weights(checkpoint: Checkpoint, config: Any) -> Weights:
    """All weights of the checkpoint.

    Raises:
        Halt: ``model.unsupported``: weights that are not in floating point. ``model.incomplete``: a
            weight is missing, of another shape or unknown, or a file is damaged. ``model.device``:
            they do not fit into memory.
    """
    files = weight_files(checkpoint.directory)
    found = {name: shape for path in files for name, shape in _shapes_in(checkpoint, path).items()}
    expected = dict(_shapes_of(config))
    shared = expected.keys() & found.keys()
    for what, wrong in {
        "missing": sorted(expected.keys() - found.keys()),
        "unknown": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} is {found[name]} against {expected[name]}"
            for name in sorted(shared)
            if found[name] != expected[name]
        ],
    }.items():
        if wrong:
            more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise Halt(
                "model.incomplete",
                f"model {checkpoint}: weights {what}: {', '.join(wrong[:SHOWN])}{more}; they are "
                f"not the weights of {CONFIG}: fetch or save the checkpoint again",
            )
    try:
        return {name: each for path in files for name, each in _read(checkpoint, path)}
    except (RuntimeError, MemoryError) as error:
        raise Halt(
            "model.device",
            f"model {checkpoint}: its weights do not fit into memory ({first_line(error)}); give "
            "the process more memory",
        ) from error


def _shapes_in(checkpoint: Checkpoint, path: Path) -> dict[str, Shape]:
    with _opened(checkpoint, path) as tensors:
        shapes = {}
        for name in _names(tensors):
            tensor = tensors.get_slice(name)
            if tensor.get_dtype() not in FLOAT_DTYPES:
                raise Halt(
                    "model.unsupported",
                    f"model {checkpoint}: {name} is of dtype {tensor.get_dtype()}; give a "
                    f"checkpoint in one of {', '.join(FLOAT_DTYPES)}",
                )
            shapes[name] = tuple(tensor.get_shape())
        return shapes


def _read(checkpoint: Checkpoint, path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    with _opened(checkpoint, path) as tensors:
        for name in _names(tensors):
            # A copy, because the file is mapped and could be cut under a running worker.
            yield name, tensors.get_tensor(name).to(torch.float32, copy=True)


@contextmanager
def _opened(checkpoint: Checkpoint, path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise Halt(
            "model.incomplete",
            f"model {checkpoint}: {path.name} cannot be read ({first_line(error)}); fetch it again",
        ) from error


def _names(tensors: Any) -> list[str]:
    # An open file has keys and is no mapping.
    return [name for name in tensors.keys() if not name.endswith(_CONSTANT)]  # noqa: SIM118


def _shapes_of(config: Any) -> Iterator[tuple[str, Shape]]:
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
    yield f"{name}.embeddings.patch_embedding.weight", (width, vision.num_channels, edge, edge)
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
