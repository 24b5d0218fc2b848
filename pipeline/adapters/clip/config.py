"""Reads a CLIP checkpoint's configuration, and refuses what the two towers here cannot compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPConfig
from transformers.utils import logging as transformers_logging

from pipeline.adapters.clip.checkpoint import CONFIG, Checkpoint, first_line, read_json
from pipeline.adapters.clip.layers import ACTIVATIONS
from pipeline.errors import Halt

LIBRARY_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    StrictDataclassError,
)
"""Errors that transformers raises for unexpected files."""


def read_config(checkpoint: Checkpoint) -> Any:
    """The checkpoint's ``CLIPConfig``. From then on transformers writes no progress bars and no
    reports in this process: they would break structured logs, and what they warn about is an error
    here.

    Raises:
        Halt: ``model.unsupported``: another architecture, quantized weights, an adapter.
            ``model.incomplete``: the file cannot be read.
    """
    _require_clip(checkpoint)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        config = CLIPConfig.from_pretrained(checkpoint.directory, local_files_only=True)
    except LIBRARY_ERRORS as error:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: {CONFIG} cannot be read ({first_line(error)}); give a CLIP's",
        ) from error
    for field, value, fits, wanted in _limits(config):
        if not fits:
            raise Halt(
                "model.unsupported",
                f"model {checkpoint}: {field} in {CONFIG} is {value!r} and must be {wanted}; give "
                "another checkpoint",
            )
    return config


def _require_clip(checkpoint: Checkpoint) -> None:
    """Refuse anything but a plain CLIPModel in floating point."""
    config = read_json(checkpoint.directory / CONFIG)
    if config.get("model_type") != "clip":
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: model_type is {config.get('model_type')!r}; Clipstream runs "
            "CLIPModel checkpoints ('clip')",
        )
    if "quantization_config" in config:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: the weights are quantized; give the floating-point checkpoint",
        )
    if (checkpoint.directory / "adapter_config.json").exists():
        # Without the adapter the base model would run, and its results would look right.
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: holds an adapter; merge it into the weights and save those",
        )


def _limits(config: Any) -> Iterator[tuple[str, object, bool, str]]:
    """Field, value, whether the towers can compute it, and what they can."""
    for name in ("text_config", "vision_config"):
        tower = getattr(config, name)
        act, layers, eps = tower.hidden_act, tower.num_hidden_layers, tower.layer_norm_eps
        yield f"{name}.hidden_act", act, act in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}"
        yield f"{name}.num_hidden_layers", layers, layers > 0, "1 or more"
        yield f"{name}.layer_norm_eps", eps, eps is not None, "a number"
    vision, dimension = config.vision_config, config.projection_dim
    edge, channels = vision.patch_size, vision.num_channels
    square = isinstance(edge, int) and edge > 0
    yield "vision_config.patch_size", edge, square, "one whole number, because patches are square"
    yield "vision_config.num_channels", channels, channels == 3, "3: red, green and blue"
    yield "projection_dim", dimension, dimension is not None, "a whole number"
