"""Reads a CLIP checkpoint and checks that its weights, tokenizer and preprocessing fit each other.

A checkpoint whose weights or preprocessing do not fit gives wrong scores that look right. Such
checkpoints are refused here, with what to do.

The towers are not transformers' own. Importing those takes 5 s of processor time, nearly half of a
worker's start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, field_validator

from pipeline.adapters.clip.checkpoint import PREPROCESSOR, PROCESSOR, Checkpoint, read_json
from pipeline.adapters.clip.config import read_config
from pipeline.adapters.clip.layers import Weights
from pipeline.adapters.clip.tokenizer import read_tokenizer
from pipeline.adapters.clip.weights import read_weights
from pipeline.errors import Halt
from pipeline.ports import PromptTokens
from pipeline.records import ImageGeometry

RESAMPLE_BICUBIC: Literal[3] = 3  # PIL.Image.Resampling.BICUBIC, as the checkpoints write it
RESCALE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The preprocessing that the checkpoint needs: geometry, then (x / 255 - mean) / std by
    channel."""

    geometry: ImageGeometry
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ClipModel:
    """The parts of a checkpoint, checked to fit each other. ``config`` is transformers'
    ``CLIPConfig``."""

    weights: Weights
    config: Any
    prompts: PromptTokens
    preprocessing: Preprocessing


def read_model(checkpoint: Checkpoint) -> ClipModel:
    """Read and check all of a checkpoint.

    Raises:
        Halt: ``model.unsupported``: another architecture, quantized weights, an image filter that
            is not CLIP's, a foreign tokenizer. ``model.incomplete``: a file or a weight is missing
            or damaged. ``model.device``: the weights do not fit into memory.
    """
    config = read_config(checkpoint)
    preprocessing = _read_preprocessing(checkpoint)
    if config.vision_config.image_size != preprocessing.geometry.crop:
        raise Halt(
            "model.unsupported",
            f"model {checkpoint}: crop_size is {preprocessing.geometry.crop} and the vision "
            f"tower reads {config.vision_config.image_size}; fix {PREPROCESSOR}",
        )
    prompts = read_tokenizer(checkpoint, config.text_config)
    return ClipModel(read_weights(checkpoint, config), config, prompts, preprocessing)


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
