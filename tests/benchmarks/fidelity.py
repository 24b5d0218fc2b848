"""`python -m tests.benchmarks.fidelity`: how far the quick ways are from transformers' own.

Photographs, as they are and enlarged, by the product's decoder against transformers' processor;
and by decoder, encoder and scores against the zero-shot pipeline, which has ``CLIPModel``. Of a
full-size ViT-B/32 with seeded random weights.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from transformers import CLIPModel, pipeline
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clip.vision.int8 import centred_cosines
from pipeline.decode.policy import DecodePolicy
from pipeline.labels.label_set import Decision, Label, LabelSet
from pipeline.labels.scoring import compile_label_sets
from pipeline.records import Pixels, Vector
from tests.benchmarks import full_size
from tests.benchmarks.decode import Case, some_photos
from tests.benchmarks.encode import precisions
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.peer_process import LABELS
from tests.rigs.stages.decoding import Reference, decoding

PHOTOS = 8
SIZES = ((1920, 1080), (4000, 3000))
"""To which they are enlarged, beside the originals."""
MOST_OFF_OF_PIXELS = 1
LEAST_COSINE = 0.9995
"""Centred, of embeddings in `fast`."""
MOST_OFF = 1e-4
"""Of an element of a unit vector."""
LEAST_COSINE_OF = {"fp32": 0.9995, "int8": full_size.MIN_FIDELITY}
MOST_OFF_OF_SCORES = {"fp32": 1e-3}


def measure() -> list[Figure]:
    """All of it, once: nothing here depends on the machine's speed."""
    originals = some_photos(PHOTOS)
    encoders = {precision: _encoder(precision) for precision in precisions()}
    encoder = encoders["fp32"]
    figures = _decoding(originals, "originals", encoder)
    for width, height in SIZES:
        files = Case("JPEG", width, height, images=PHOTOS).files()
        figures += _decoding(files, f"{width}x{height}", encoder)
    return figures + _encoding(originals, encoders)


def _encoder(precision: str) -> ClipEncoder:
    calibration = full_size.calibration() if precision == "int8" else None
    settings = {
        "directory": full_size.checkpoint(),
        "device": "cpu",
        "precision": precision,
        "threads": len(os.sched_getaffinity(0)),
        "calibration": calibration,
    }
    return ClipEncoder.load(ModelPolicy.model_validate(settings))


def _decoded(files: Sequence[bytes], mode: str, encoder: ClipEncoder) -> Pixels:
    policy = DecodePolicy.model_validate({"mode": mode, "processes": 2})
    with decoding(policy) as decoder:
        images = decoder.all(list(files), encoder.geometry)
    return np.stack([image.pixels for image in images])


def _decoding(files: Sequence[bytes], size: str, encoder: ClipEncoder) -> list[Figure]:
    reference = Reference(encoder.geometry)
    expected = np.stack([reference.pixels(file) for file in files])
    strict, fast = (_decoded(files, mode, encoder) for mode in ("strict", "fast"))
    off = np.abs(strict.astype(np.int16) - expected).max()
    cosines = centred_cosines(encoder.encode_images(fast), encoder.encode_images(expected))
    return [
        Figure(
            f"fidelity.strict.{size}",
            float(off),
            "most off, of 255",
            MOST_OFF_OF_PIXELS,
            at_least=False,
        ),
        Figure(f"fidelity.fast.{size}", float(cosines.min()), "least cosine", LEAST_COSINE),
    ]


def _reference(files: Sequence[bytes]) -> Vector:
    """``CLIPModel``'s unit vectors of what transformers' processor makes of the files."""
    model: Any = CLIPModel.from_pretrained(full_size.checkpoint(), local_files_only=True)
    processor = CLIPImageProcessorPil.from_pretrained(full_size.checkpoint())
    planes = processor([_opened(file) for file in files], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        features = model.get_image_features(pixel_values=planes).pooler_output
    vectors: Vector = torch.nn.functional.normalize(features, dim=-1).numpy()
    return vectors


def _opened(file: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


def _encoding(files: Sequence[bytes], encoders: Mapping[str, ClipEncoder]) -> list[Figure]:
    exact = encoders["fp32"]
    reference = Reference(exact.geometry)
    pixels = np.stack([reference.pixels(file) for file in files])
    expected, own = _reference(files), exact.encode_images(pixels)
    again = exact.encode_images(pixels)
    figures = [
        Figure("fidelity.vectors", _apart(own, expected), "most off", MOST_OFF, at_least=False),
        Figure("fidelity.vectors.again", _apart(own, again), "most off", 0.0, at_least=False),
    ]
    probabilities = _probabilities(files)
    strict = _decoded(files, "strict", exact)
    for precision, encoder in encoders.items():
        vectors = encoder.encode_images(strict)
        cosine = float(centred_cosines(vectors, expected).min())
        goal = LEAST_COSINE_OF.get(precision)
        figures.append(Figure(f"fidelity.worker.{precision}", cosine, "least cosine", goal))
        off = _apart(_scores(vectors, encoder), probabilities)
        figures.append(
            Figure(
                f"fidelity.scores.{precision}",
                off,
                "most off",
                MOST_OFF_OF_SCORES.get(precision),
                at_least=False,
            )
        )
    return figures


def _apart(own: Vector, other: Vector) -> float:
    return float(np.abs(own - other).max())


def _probabilities(files: Sequence[bytes]) -> Vector:
    """What the zero-shot pipeline says of each label, in the labels' order."""
    classify: Any = pipeline(
        "zero-shot-image-classification", model=str(full_size.checkpoint()), device="cpu"
    )
    images = [_opened(file) for file in files]
    answers = classify(images, candidate_labels=list(LABELS), hypothesis_template="{}")
    scores = [{each["label"]: each["score"] for each in answer} for answer in answers]
    return np.array([[each[label] for label in LABELS] for each in scores], dtype=np.float32)


def _scores(vectors: Vector, encoder: ClipEncoder) -> Vector:
    """The product's, of a label set of the same prompts."""
    label_set = LabelSet(
        name="peers",
        decision=Decision.EXCLUSIVE,
        actions=("none",),
        default_action="none",
        unclassified_action="none",
        labels=tuple(Label(prompt, (prompt,)) for prompt in LABELS),
    )
    (only,) = compile_label_sets([label_set], encoder.encode_texts, encoder.model)
    results = [only.score(vector) for vector in vectors]
    return np.array([[each.score for each in result.scores] for result in results], np.float32)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    show(measure(), "Beside transformers", Console())


if __name__ == "__main__":
    main()
