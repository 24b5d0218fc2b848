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
"""The default model's weights converted to safetensors, the commit that transformers itself
resolves to; the repository's main branch has pickled weights alone."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


class ModelPolicy(Policy):
    """Which CLIP model to run, and on what."""

    tier = Tier.TUNING

    name: Annotated[str, Tier.EVERYDAY] = Field(
        DEFAULT_MODEL,
        description="Model on the Hugging Face hub (`owner/name`); with `directory`, the name that "
        "events carry (default: the directory's own name).",
        min_length=1,
    )
    revision: Annotated[str, Tier.EVERYDAY] = Field(
        DEFAULT_REVISION,
        description="Commit hash on the hub, all 40 digits: a branch would change the results "
        "under you. It must hold safetensors weights. Required with another `name`.",
    )
    directory: Annotated[Path | None, Tier.EVERYDAY] = Field(
        None,
        description="Local directory of a CLIPModel checkpoint, instead of the hub; its files' "
        "hash becomes the revision.",
    )
    cache_directory: Path | None = Field(
        None,
        description="Where downloads from the hub are kept; default: the hub library's cache "
        "(`HF_HOME`).",
    )
    offline: bool = Field(False, description="Never contact the hub: the cache must be complete.")
    device: Annotated[Literal["auto", "cpu", "cuda"], Tier.EVERYDAY] = Field(
        "auto",
        description="Where the model runs. `auto`: a worker runs on the GPU that "
        "workers.gpus_per_worker reserves for it, and without one on CPUs; other commands take a "
        "CUDA device where there is one.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto",
        description="Arithmetic of the image tower. `auto`: on a CUDA device bf16 where it has "
        "that; on a CPU bf16 where the tower runs at least 1.3 times as fast in it as in fp32, "
        "measured when the model is loaded; else fp32. `int8` runs on a CPU and takes "
        "`calibration`. Prompts are always embedded in fp32.",
    )
    calibration: Path | None = Field(
        None,
        description="Directory that `clipstream calibrate` wrote for this model from images like "
        "yours; for `precision: int8`.",
    )
    min_fidelity: Annotated[float, Tier.EXPERT] = Field(
        0.95,
        description="Least centred cosine between embeddings in a lower precision and in fp32. "
        "With `int8`, over the images held out from its calibration: the model is refused at load "
        "where one is below. With `auto` on a CPU, over drawn pictures: bf16 is not taken then.",
        gt=0,
        le=1,
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compile the image tower when the model is loaded, for each of a few batch "
        "sizes: on a GPU some seconds each for a third more speed, on a CPU half a minute each for "
        "a few per cent at best. `auto` compiles for a GPU. Takes a C compiler (on a CPU one for "
        "C++); without one, `auto` runs uncompiled and says so. Without effect on `int8`.",
    )
    threads: int | None = Field(
        None,
        description="CPU threads of the model. Default: the worker's share of its node's CPUs "
        "(docs/machines.md).",
        gt=0,
    )
    lanes: Annotated[int | None, Tier.EXPERT] = Field(
        None,
        description="Batches that a CPU encodes at once, each with an equal share of `threads`, "
        "rounded down, and of `batch.max_size`; at most `threads`. Default: one a thread, so that "
        "no thread waits for another. With fewer, single images are done sooner, and less memory "
        "is taken. Without effect on a GPU.",
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
            # The default says nothing: a file with every setting written out has it.
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
