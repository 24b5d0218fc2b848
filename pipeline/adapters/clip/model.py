"""Reads a CLIP checkpoint and checks that its weights, tokenizer and preprocessing fit each other.

transformers loads much that Clipstream must not run: missing weights become random numbers, and
other preprocessing shifts every score. Such checkpoints are refused here, with what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from transformers import CLIPModel

from pipeline.adapters.clip.checkpoint import (
    CONFIG,
    PREPROCESSOR,
    PROCESSOR,
    Checkpoint,
    first_line,
    read_json,
    weight_files,
)
from pipeline.adapters.clip.tokenizer import LIBRARY_ERRORS, quieten_transformers, read_tokenizer
from pipeline.errors import Halt
from pipeline.ports import PromptTokens
from pipeline.records import ImageGeometry

RESAMPLE_BICUBIC: Literal[3] = 3  # PIL.Image.Resampling.BICUBIC, as the checkpoints write it
RESCALE_TOLERANCE = 1e-6
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")  # safetensors' names


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The preprocessing that the checkpoint needs: geometry, then (x / 255 - mean) / std by
    channel."""

    geometry: ImageGeometry
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ClipModel:
    """The parts of a checkpoint, checked to fit each other. The weights are fp32 on the CPU."""

    network: CLIPModel
    prompts: PromptTokens
    preprocessing: Preprocessing


def read_model(checkpoint: Checkpoint) -> ClipModel:
    """Read and check all of a checkpoint.

    Raises:
        Halt: ``model.unsupported``: another architecture, quantized weights, an image filter that
            is not CLIP's, a foreign tokenizer. ``model.incomplete``: a file or a weight is missing
            or damaged.
    """
    quieten_transformers()
    _require_clip(checkpoint)
    preprocessing = _read_preprocessing(checkpoint)
    network = _read_weights(checkpoint)
    config: Any = network.config
    if config.vision_config.image_size != preprocessing.geometry.crop:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: crop_size is {preprocessing.geometry.crop} and the vision "
            f"tower reads {config.vision_config.image_size}; fix {PREPROCESSOR}",
        )
    return ClipModel(
        network,
        read_tokenizer(checkpoint, config.text_config),
        preprocessing,
    )


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
    for path in weight_files(checkpoint.directory):
        _require_floats(checkpoint, path)


def _require_floats(checkpoint: Checkpoint, path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                dtype = tensors.get_slice(name).get_dtype()
                if dtype not in FLOAT_DTYPES and not name.endswith("position_ids"):
                    raise Halt(
                        "model.unsupported",
                        f"model {checkpoint}: {name} is of dtype {dtype}; give a checkpoint in "
                        f"one of {', '.join(FLOAT_DTYPES)}",
                    )
    except (SafetensorError, OSError) as error:
        raise Halt(
            "model.incomplete",
            f"model {checkpoint}: {path.name} cannot be read ({first_line(error)}); fetch it again",
        ) from error


class _PreprocessorFile(BaseModel):
    """preprocessor_config.json. Absent fields have the values that transformers gives them."""

    image_processor_type: str = "CLIPImageProcessor"
    do_resize: Literal[True] = True
    size: int = 224
    resample: Literal[3] = RESAMPLE_BICUBIC
    do_center_crop: Literal[True] = True
    crop_size: int = 224
    do_rescale: Literal[True] = True
    rescale_factor: float = 1 / 255
    do_normalize: Literal[True] = True
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    @field_validator("size", mode="before")
    @classmethod
    def _shortest_edge(cls, value: object) -> object:
        if isinstance(value, dict):
            if set(value) != {"shortest_edge"}:
                raise ValueError("must be a number of pixels or {'shortest_edge': pixels}")
            return value["shortest_edge"]
        return value

    @field_validator("crop_size", mode="before")
    @classmethod
    def _square(cls, value: object) -> object:
        if isinstance(value, dict):
            if set(value) != {"height", "width"} or value["height"] != value["width"]:
                raise ValueError("must be a number of pixels or equal {'height', 'width'}")
            return value["height"]
        return value

    @field_validator("image_processor_type")
    @classmethod
    def _of_clip(cls, value: str) -> str:
        if not value.startswith("CLIP"):
            raise ValueError("must be CLIP's")
        return value

    @field_validator("rescale_factor")
    @classmethod
    def _eight_bits(cls, value: float) -> float:
        if abs(value * 255 - 1) > RESCALE_TOLERANCE:
            raise ValueError("must be 1/255")
        return value

    @field_validator("image_std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) <= 0:
            raise ValueError("must be positive")
        return value


def _read_preprocessing(checkpoint: Checkpoint) -> Preprocessing:
    """The contents of the checkpoint's preprocessor file, if the decoder can do exactly that."""
    path = checkpoint.directory / PREPROCESSOR
    if path.is_file():
        content = read_json(path)
    else:
        path = checkpoint.directory / PROCESSOR
        content = read_json(path).get("image_processor", {})
    try:
        file = _PreprocessorFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: {path.name}: {field} = {first['input']!r}: {first['msg']}; "
            "Clipstream resizes the shortest edge with bicubic and crops the centre, as CLIP does",
        ) from error
    if file.crop_size > file.size or file.crop_size < 1:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: {path.name}: crop_size = {file.crop_size} against size = "
            f"{file.size}; the crop must lie inside the resized image",
        )
    return Preprocessing(
        ImageGeometry(resize=file.size, crop=file.crop_size), file.image_mean, file.image_std
    )


def _read_weights(checkpoint: Checkpoint) -> CLIPModel:
    try:
        # The stubs declare only the model, whatever output_loading_info is.
        loaded: Any = CLIPModel.from_pretrained(
            checkpoint.directory,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except LIBRARY_ERRORS as error:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: transformers cannot load it ({type(error).__name__}: "
            f"{first_line(error)}); check {CONFIG}",
        ) from error
    model: CLIPModel
    model, report = loaded
    # transformers would fill these with random numbers and continue.
    for what in ("missing", "mismatched", "unexpected"):
        keys = [key if isinstance(key, str) else key[0] for key in report[f"{what}_keys"]]
        # position_ids is a constant that older versions saved.
        names = sorted(key for key in keys if not key.endswith("position_ids"))
        if names:
            raise Halt(
                "model.incomplete",
                f"model {checkpoint}: {len(names)} {what} weights ({', '.join(names[:3])}, …); the "
                f"weights are not those of {CONFIG}: fetch or save the checkpoint again",
            )
    return model
