"""What decoding may do, and what one image may cost."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.decode.crop import Centring
from pipeline.decode.views import CENTRE, Viewing
from pipeline.policy import Policy, Tier

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "HEIF"]

BYTES_PER_PIXEL = 20
"""Most bytes that decoding may take per pixel of the original. The highest measured over all
formats is 17: a WebP with alpha needs two canvases, the copy handed over and the image."""

HEIF_BYTES_PER_PIXEL = 24
"""The same bound where HEIF is allowed. Measured: 20 to 21, for 10 bits with alpha at full colour
resolution."""

FRAMES_BYTES_PER_PIXEL = 24
"""The same bound where further frames are looked at. Measured: 18 to 22, the most for an AVIF with
alpha."""

BASE_MEMORY_MIB = 256
"""Address space of a decoder before it decodes (45 to 100 MiB) and of its copies of the file's
bytes."""


MAX_DEFAULT_PROCESSES = 16
"""Most decoder processes by default. More processes hardly decode more images, because all images
pass through one worker."""


class DecodePolicy(Policy):
    """How images are decoded, and what one image may cost."""

    tier = Tier.TUNING

    mode: Literal["strict", "fast"] = Field(
        "strict",
        description="How faithful the decoded pixels are. `strict`: the image is decoded in full, "
        "and each value is within 1 of 255 of what the transformers CLIP image processor gives "
        "(rare values within 2 in JPEGs that are not photographs). `fast`: large JPEGs are "
        "decoded at a half, a quarter or an eighth of their size, which is at least twice the "
        "model's resolution; embeddings hardly change (docs/decoding.md). Events name the mode. "
        "Measure thresholds in the mode that you serve.",
    )
    crop: Annotated[Centring, Tier.EXPERT] = Field(
        "transformers",
        description="Which pixel the model's square starts at when the margin of the resized "
        "image is odd. `transformers` rounds the offset down. `openai` rounds the offset as "
        "openai/CLIP and open_clip do, which is one pixel further in a quarter of all sizes. "
        "Events name this setting. Use `openai` to compare with embeddings made by those "
        "libraries. Changing this setting changes the embeddings of such images "
        "(docs/decoding.md).",
    )
    formats: tuple[ImageFormat, ...] = Field(
        ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"),
        min_length=1,
        description="File formats that are decoded. A file of any other format is dead-lettered "
        "as `decode.unsupported_format`. Each format exposes one more decoder to hostile bytes, "
        "so add TIFF and HEIF only if you need them. HEIF (iPhone photographs) needs "
        "`clipstream[heif]`.",
    )
    animations: Annotated[Literal["first_frame", "reject"], Tier.EVERYDAY] = Field(
        "first_frame",
        description="How files with several frames or pages are handled. `first_frame` classifies "
        "the first frame, with `views: all` also further ones, and the event gives the number of "
        "frames. `reject` dead-letters the file as `decode.animation`, because a harmless first "
        "frame can hide the rest.",
    )
    views: Literal["centre", "all"] = Field(
        "centre",
        description="Which parts of a file the model looks at. `centre`: the centred square of the "
        "first frame. `all`: also squares along the longer side of a wide or tall image, and "
        "further frames of an animation (GIF, WebP, PNG, AVIF). A label's score is then its "
        "largest over these views, and events list them. Each view costs the model as much as an "
        "image (docs/decoding.md).",
    )
    max_views: int = Field(
        9,
        ge=2,
        le=64,
        description="With `views: all`: most views of one file. The views of a frame come first; "
        "what is left of this number goes to further frames. Pixels of each view wait in memory "
        "for the model: 150 KB at 224 pixels.",
    )
    max_unseen: Annotated[float, Tier.EXPERT] = Field(
        0.1,
        ge=0,
        lt=1,
        description="With `views: all`: share of the longer side that no view needs to see. At the "
        "default of 0.1, an image of 1.1 to 1 has one view, and one of 4 to 3 has three.",
    )
    max_megapixels: float = Field(
        64,
        gt=0,
        le=2_000,
        description="Largest image, in millions of pixels. A file whose header announces more is "
        "dead-lettered as `decode.too_large` before it is decoded.",
    )
    deadline_s: float = Field(
        10,
        gt=0,
        description="Seconds that decoding one image may take once a decoder is free. After that "
        "the decoder is killed and the image is dead-lettered as `decode.timeout`.",
    )
    max_memory_mib: int = Field(
        2_048,
        gt=0,
        description="Address space of each decoder process, in MiB. An image that needs more is "
        "dead-lettered as `decode.out_of_memory`. The limit must be enough for an image of "
        "`max_megapixels`, which is checked at start-up; most images need a small part of it.",
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Decoder processes of each worker. Default: the worker's share of its node's "
        "CPUs, at most 16 (docs/machines.md).",
    )

    @property
    def viewing(self) -> Viewing:
        return Viewing(self.max_views, self.max_unseen) if self.views == "all" else CENTRE

    @property
    def told_views(self) -> str:
        """All that decides which views there are, as a job says it."""
        if self.views == "centre":
            return self.views
        return f"{self.views}, at most {self.max_views}, up to {self.max_unseen:g} unseen"

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1_000_000)

    @property
    def bytes_per_pixel(self) -> int:
        """Most that decoding takes per pixel of the original."""
        return max(
            BYTES_PER_PIXEL,
            HEIF_BYTES_PER_PIXEL if "HEIF" in self.formats else 0,
            FRAMES_BYTES_PER_PIXEL if self.views == "all" else 0,
        )

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
