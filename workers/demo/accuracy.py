"""How well a model tells the demo's labels apart, measured with the pipeline's own decoder and
encoder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.adapters.clip.encoder import ClipEncoder
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from pipeline.labels.scoring import compile_label_sets
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import ImageGeometry, Pixels, Vector
from workers.decoding import decoding
from workers.demo.shapes import DemoImage
from workers.stages import looking

LABELS_FILE = Path(__file__).with_name("labels.yaml")
_CALIBRATION_BINS = 10
MAX_LOGIT_SCALE = 100.0
"""CLIP's own limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Cosines of images [images] with the labels of the demo's set, float64 [images, labels], and
    each image's label, intp [images]."""

    cosines: npt.NDArray[np.float64]
    truths: npt.NDArray[np.intp]

    @classmethod
    def of(cls, encoder: ClipEncoder, images: Iterable[DemoImage]) -> Self:
        """Decode, encode and compare; every image must have a truth. Runs an event loop."""
        (compiled,) = compile_label_sets(
            load_label_sets([LABELS_FILE]), encoder.encode_texts, encoder.model
        )
        number = {label.name: index for index, label in enumerate(compiled.label_set.labels)}
        known = list(images)
        embeddings = asyncio.run(_embeddings(encoder, [image.body for image in known]))
        return cls(
            cosines=embeddings.astype(np.float64) @ compiled.label_vectors.T.astype(np.float64),
            truths=np.array([number[str(image.truth)] for image in known]),
        )

    @property
    def accuracy(self) -> float:
        """Share of images whose best label is their truth, 0 to 1."""
        return float(np.mean(self.cosines.argmax(axis=1) == self.truths))

    def calibration_error(self, logit_scale: float) -> float:
        """Mean gap between the best label's probability and how often it is right, 0 to 1.

        The expected calibration error of Guo et al., On Calibration of Modern Neural Networks
        (2017), over ten bins of equal width.
        """
        best = np.exp(self._log_probabilities(logit_scale)).max(axis=1)
        right = self.cosines.argmax(axis=1) == self.truths
        bins = np.minimum((best * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
        return float(
            sum(
                abs(right[bins == index].sum() - best[bins == index].sum())
                for index in range(_CALIBRATION_BINS)
            )
            / len(best)
        )

    def best_logit_scale(self) -> float:
        """The scale that makes the truths most likely: temperature scaling, from the same paper."""
        scales = np.geomspace(1, MAX_LOGIT_SCALE, 400)
        rows = np.arange(len(self.truths))
        likelihoods = [
            self._log_probabilities(scale)[rows, self.truths].mean() for scale in scales.tolist()
        ]
        return float(scales[np.argmax(likelihoods)])

    def _log_probabilities(self, logit_scale: float) -> npt.NDArray[np.float64]:
        logits = logit_scale * (self.cosines - self.cosines.max(axis=1, keepdims=True))
        shifted: npt.NDArray[np.float64] = logits - np.log(
            np.exp(logits).sum(axis=1, keepdims=True)
        )
        return shifted


async def _embeddings(encoder: ClipEncoder, bodies: Iterable[bytes]) -> Vector:
    """float32 [images, dimension], made as in production."""
    meter = PrometheusMeter(IMAGE_METRICS)
    async with looking(encoder, meter, DecodePolicy(processes=1), BatchPolicy()) as seeing:
        looked = await asyncio.gather(*map(seeing.look, bodies))
    return np.stack([each.embedding for each in looked]).astype(np.float32)


def decoded(bodies: Iterable[bytes], geometry: ImageGeometry) -> Pixels:
    """uint8 [images, crop, crop, 3], decoded as in production. Runs an event loop."""

    async def decode_all() -> Pixels:
        async with decoding(DecodePolicy(processes=1), PrometheusMeter(IMAGE_METRICS)) as decoder:
            return np.stack([(await decoder.decode(body, geometry)).pixels for body in bodies])

    return asyncio.run(decode_all())
