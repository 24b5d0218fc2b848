"""The vectors of prompts, and of the labels that they describe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import Halt
from pipeline.labels.learnt.logistic import Float64s
from pipeline.records import ModelIdentity, Vector

_MIN_LENGTH = 1e-3
"""A shorter mean of unit vectors has no useful direction, because its prompts cancel out."""


class PromptVectors:
    """The unit vectors of prompts. The constructor checks them."""

    def __init__(self, prompts: Sequence[str], vectors: Vector, model: ModelIdentity) -> None:
        expected = (len(prompts), model.dimension)
        if prompts and vectors.shape != expected:
            raise Halt(
                "label_set.not_embeddable",
                f"{model.name}: text embeddings have the shape {vectors.shape}, not {expected}; "
                "check that the checkpoint is a CLIP model",
            )
        self._vectors = vectors.astype(np.float64)
        lengths = np.linalg.norm(self._vectors, axis=1)
        for prompt, length in zip(prompts, lengths.tolist(), strict=True):
            if not _MIN_LENGTH <= length < np.inf:  # false for a NaN, too
                raise Halt(
                    "label_set.not_embeddable",
                    f"{model.name}: the embedding of {prompt!r} has the length {length}; "
                    "check the checkpoint and its precision",
                )
        self._vectors /= lengths[:, np.newaxis]
        self._row = {prompt: row for row, prompt in enumerate(prompts)}

    def ensemble(self, prompts: Sequence[str], where: str) -> Float64s:
        """The renormalised mean of the prompts' unit vectors."""
        mean = self._vectors[[self._row[prompt] for prompt in prompts]].mean(axis=0)
        length = np.linalg.norm(mean)
        if length < _MIN_LENGTH:
            raise Halt(
                "label_set.not_embeddable",
                f"{where}: the embeddings of its prompts cancel each other out (length of their "
                f"mean: {length:.2g}); use prompts that mean the same",
            )
        unit: Float64s = mean / length
        return unit
