"""What decoding may do, and what one image may cost."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.decode.crop import Centring
from pipeline.policy import Policy, Tier

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "HEIF"]

BYTES_PER_PIXEL = 20
"""Most that decoding took per pixel of the original, measured over all formats (17, for a WebP
with alpha: two canvases, the copy handed over and the image), with room to spare."""

HEIF_BYTES_PER_PIXEL = 24
"""The same with HEIF: 20 to 21, for 10 bits with alpha at full colour resolution."""

BASE_MEMORY_MIB = 256
"""Address space of a decoder before it decodes (45 to 100 MiB), and copies of the file's bytes."""


MAX_DEFAULT_PROCESSES = 16
"""Decoder processes where nobody has set their number: more of them hardly decode more, for all
their images pass through one worker."""


class DecodePolicy(Policy):
    """How images are decoded, and what one image may cost."""

    tier = Tier.TUNING

    mode: Literal["strict", "fast"] = Field(
        "strict",
        description="How faithful pixels are. `strict`: decoded in full, each within 1 of 255 of "
        "the transformers CLIP image processor's (rare ones within 2 in JPEGs that are no "
        "photographs). `fast`: large JPEGs are decoded at a half, a quarter or an eighth of their "
        "size, at least twice the model's resolution: embeddings hardly move (docs/decoding.md). "
        "Events name the mode; set thresholds with the mode that is served.",
    )
    crop: Annotated[Centring, Tier.EXPERT] = Field(
        "transformers",
        description="Where the model's square lies in the resized image when the margin is an odd "
        "number of pixels. `transformers` rounds its offset down; `openai` rounds it as "
        "openai/CLIP and open_clip do, one pixel further in a quarter of all sizes. Events name "
        "it. Take `openai` to compare with embeddings that those libraries made; changing it "
        "moves the embeddings of such images (docs/decoding.md).",
    )
    formats: tuple[ImageFormat, ...] = Field(
        ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"),
        min_length=1,
        description="File formats that are decoded; all others are dead-lettered as "
        "`decode.unsupported_format`. Each format is a decoder exposed to hostile bytes: TIFF and "
        "HEIF are there for those who need them. HEIF (photographs of iPhones) needs "
        "`clipstream[heif]`.",
    )
    animations: Annotated[Literal["first_frame", "reject"], Tier.EVERYDAY] = Field(
        "first_frame",
        description="What becomes of files with several frames or pages: `first_frame` looks at "
        "the first alone (the event counts the frames), `reject` dead-letters them as "
        "`decode.animation`, because a harmless first frame can hide the rest.",
    )
    max_megapixels: float = Field(
        64,
        gt=0,
        le=2_000,
        description="Largest image, in millions of pixels; a file whose header announces more is "
        "dead-lettered as `decode.too_large` before it is decoded.",
    )
    deadline_s: float = Field(
        10,
        gt=0,
        description="Seconds that decoding one image may take, from when a decoder is free; then "
        "the decoder is killed and the image dead-lettered as `decode.timeout`.",
    )
    max_memory_mib: int = Field(
        2_048,
        gt=0,
        description="Address space of each decoder process in MiB; an image that needs more is "
        "dead-lettered as `decode.out_of_memory`. Most images need a small part of it: it must "
        "cover `max_megapixels`, and is checked against it at start-up.",
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Decoder processes of each worker. Default: the worker's share of its node's "
        "CPUs (docs/operations.md), 16 at most.",
    )

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1_000_000)

    @property
    def bytes_per_pixel(self) -> int:
        """Most that decoding takes per pixel of the original."""
        return HEIF_BYTES_PER_PIXEL if "HEIF" in self.formats else BYTES_PER_PIXEL

    @property
    def max_memory_bytes(self) -> int:
        return self.max_memory_mib * 2**20

    @model_validator(mode="after")
    def _memory_covers_pixels(self) -> Self:
        needed_mib = BASE_MEMORY_MIB + math.ceil(self.max_pixels * self.bytes_per_pixel / 2**20)
        if self.max_memory_mib < needed_mib:
            raise ValueError(
                f"decode.max_memory_mib = {self.max_memory_mib} is too little for "
                f"decode.max_megapixels = {self.max_megapixels:g}: {self.bytes_per_pixel} bytes a "
                f"pixel and {BASE_MEMORY_MIB} MiB make {needed_mib}; raise the one to that, or "
                "lower the other"
            )
        return self

    @model_validator(mode="after")
    def _formats_differ(self) -> Self:
        if len(set(self.formats)) < len(self.formats):
            raise ValueError("decode.formats names a format twice; name it once")
        return self
