"""Which CLIP model to run, and on what. Imports no torch: settings must load fast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.policy import Policy, Tier

DEFAULT_MODEL = "openai/clip-vit-base-patch32"

DEFAULT_REVISION = "c237dc49a33fc61debc9276459120b7eac67e7ef"
"""The default model's weights converted to safetensors. transformers itself resolves to this
commit; the repository's main branch has pickled weights only."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


class ModelPolicy(Policy):
    """Which CLIP model to run, and on what."""

    tier = Tier.TUNING

    name: Annotated[str, Tier.EVERYDAY] = Field(
        DEFAULT_MODEL,
        description="Model on the Hugging Face hub (`owner/name`). With `directory`, this is the "
        "name that events carry; it defaults to the directory's own name.",
        min_length=1,
    )
    revision: Annotated[str, Tier.EVERYDAY] = Field(
        DEFAULT_REVISION,
        description="Commit hash on the hub, all 40 digits, because a branch could change the "
        "results under you. The commit must hold safetensors weights. Required if you set another "
        "`name`.",
    )
    directory: Annotated[Path | None, Tier.EVERYDAY] = Field(
        None,
        description="Local directory of a CLIPModel checkpoint, used instead of the hub. The hash "
        "of its files becomes the revision.",
    )
    cache_directory: Path | None = Field(
        None,
        description="Directory for downloads from the hub. Default: the hub library's cache "
        "(`HF_HOME`).",
    )
    offline: bool = Field(
        False, description="Never contact the hub. The cache must then be complete."
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], Tier.EVERYDAY] = Field(
        "auto",
        description="Where the model runs. `auto`: a worker runs on the GPU that "
        "workers.gpus_per_worker reserves for it, and on CPUs if none is reserved; other commands "
        "use a CUDA device if there is one.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto",
        description="Arithmetic of the image tower. `auto` is bf16 on a CUDA device that supports "
        "it. On a CPU, `auto` is bf16 if the tower runs at least 1.3 times as fast in bf16 as in "
        "fp32, measured when the model is loaded. Otherwise `auto` is fp32. `int8` runs on a CPU "
        "only and needs `calibration`. Prompts are always embedded in fp32.",
    )
    calibration: Path | None = Field(
        None,
        description="Directory that `clipstream calibrate` wrote for this model from images like "
        "yours. Needed for `precision: int8`.",
    )
    min_fidelity: Annotated[float, Tier.EXPERT] = Field(
        0.95,
        description="Smallest centred cosine that is accepted between embeddings in a lower "
        "precision and in fp32. `int8`: measured on the images held out from the calibration; the "
        "model is refused at load if one image is below. `auto` on a CPU: measured on drawn "
        "pictures; bf16 is not used if one picture is below.",
        gt=0,
        le=1,
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compile the image tower when the model is loaded, once for each of a few "
        "batch sizes. On a GPU each size takes some seconds, and the tower becomes about a third "
        "faster. On a CPU each size takes half a minute for a few per cent at best. `auto` "
        "compiles for a GPU only. Compiling needs a C compiler (C++ on a CPU); without one, "
        "`auto` runs uncompiled and logs it. No effect on `int8`.",
    )
    threads: int | None = Field(
        None,
        description="CPU threads of the model. Default: the worker's share of its node's CPUs "
        "(docs/machines.md).",
        gt=0,
    )
    lanes: Annotated[int | None, Tier.EXPERT] = Field(
        None,
        description="Batches that a CPU encodes at a time, at most `threads`. Each gets an equal "
        "share of `threads`, rounded down, and of `batch.max_size`. Default: one lane for each "
        "thread, so that no thread waits for another. Fewer lanes finish single images sooner and "
        "take less memory. No effect on a GPU.",
        gt=0,
    )

    @field_validator("revision")
    @classmethod
    def _commit(cls, revision: str) -> str:
        if not _COMMIT.fullmatch(revision):
            raise ValueError(
                f"is {revision[:60]!r}; write the 40-digit commit hash, of lower-case hexadecimal "
                "digits"
            )
        return revision

    @model_validator(mode="after")
    def _int8_is_calibrated(self) -> Self:
        if self.precision == "int8" and self.calibration is None:
            raise ValueError(
                "`calibration` is missing for `precision: int8`; run `clipstream calibrate` on "
                "some hundred of your images and name the directory it writes"
            )
        if self.precision == "int8" and self.device == "cuda":
            raise ValueError("`precision: int8` runs on a CPU; set `device` to cpu or auto")
        return self

    @model_validator(mode="before")
    @classmethod
    def _name_and_revision_belong_together(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        directory = given.get("directory")
        if isinstance(directory, str | Path):
            # The default is no choice: a file with every setting written out contains it.
            if given.get("revision", DEFAULT_REVISION) != DEFAULT_REVISION:
                raise ValueError(
                    "`revision` is a commit on the hub and `directory` is local; give one of them"
                )
            return {"name": Path(directory).absolute().name, **given}
        if given.get("name", DEFAULT_MODEL) != DEFAULT_MODEL and "revision" not in given:
            raise ValueError(
                f"`revision` is missing for {given['name']}; write the 40-digit commit hash to run"
            )
        return given
