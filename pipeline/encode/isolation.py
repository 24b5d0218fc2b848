"""Encodes a batch so that an image at fault harms only itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import DeviceOutOfMemory, Halt, PoisonedBatch, Reject
from pipeline.ports import Encoder
from pipeline.records import Pixels, Vector

PROBE_LEVEL = 128
"""Mid-grey: an image on which no healthy model fails."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """``rows`` holds, in order, each image's embedding [dimension] or the reason why it has none.
    ``max_size`` is the largest batch that the device takes, as far as is known now."""

    rows: list[Vector | Reject]
    max_size: int


def encode_rows(encoder: Encoder, pixels: Pixels, max_size: int) -> Encoded:
    """Encode uint8 [batch, crop, crop, 3] so that an image at fault harms only itself.

    A failing batch is bisected. An image is rejected when it has failed twice on its own account:
    alone in a batch, or with a row that is not finite. Before any image is rejected, the model must
    encode a grey image. If it cannot, the model is at fault and no image is blamed.

    With k images at fault among n this takes about 2 k log2 n calls more than a healthy batch.

    Raises:
        Halt: ``encode.unusable``, ``encode.out_of_memory`` (a single image does not fit; all images
            have one size, so it is never that image's fault), or the encoder's own.
    """
    rows: dict[int, Vector | Reject] = {}
    suspects: set[int] = set()
    spans = [(0, len(pixels))]
    while spans:
        first, end = spans.pop()
        size = end - first
        if size > max_size:
            spans += [(first + max_size, end), (first, first + max_size)]
            continue
        try:
            vectors = encoder.encode_images(pixels[first:end])
        except DeviceOutOfMemory as error:
            if size == 1:
                raise _out_of_memory(error) from error
            max_size = size // 2
            spans.append((first, end))
            continue
        except PoisonedBatch as error:
            if size > 1:
                middle = first + size // 2
                spans += [(middle, end), (first, middle)]
            elif first in suspects:
                rows[first] = Reject(
                    "encode.failed", f"encode: the model fails on this image alone ({error})"
                )
            else:
                suspects.add(first)
                spans.append((first, end))
            continue
        finite: list[bool] = np.logical_and.reduce(np.isfinite(vectors), axis=1).tolist()
        for index, vector, sound in zip(range(first, end), vectors, finite, strict=True):
            if sound:
                rows[index] = vector
            elif index in suspects:
                rows[index] = Reject(
                    "encode.non_finite", "encode: the embedding of this image is not finite, twice"
                )
            else:
                suspects.add(index)
                spans.append((index, index + 1))
    ordered = [rows[index] for index in range(len(pixels))]
    if any(isinstance(row, Reject) for row in ordered):
        _require_usable(encoder)
    return Encoded(ordered, max_size)


def _require_usable(encoder: Encoder) -> None:
    side = encoder.geometry.crop
    try:
        vectors = encoder.encode_images(np.full((1, side, side, 3), PROBE_LEVEL, dtype=np.uint8))
    except DeviceOutOfMemory as error:
        raise _out_of_memory(error) from error
    except PoisonedBatch as error:
        failure = str(error)
    else:
        if np.isfinite(vectors).all():
            return
        failure = "the embedding is not finite"
    raise Halt(
        "encode.unusable",
        f"encode: the model fails on a grey image too ({failure}); check the device and "
        "model.precision",
    )


def _out_of_memory(error: DeviceOutOfMemory) -> Halt:
    return Halt(
        "encode.out_of_memory",
        f"encode: a single image does not fit the device ({error}); give the worker more of the "
        "device, or stop other programs that use it",
    )
