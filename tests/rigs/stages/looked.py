"""Images that were looked at, for tests of what follows from their embeddings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pipeline.records import ImageFacts, LabelSetResult, Looked, ModelIdentity
from pipeline.rules import Scoring

SEEN_WHOLE = ImageFacts("PNG", 224, 224, 1, 0.0)


def looked_at(
    embedding: npt.NDArray[np.floating], image: ImageFacts = SEEN_WHOLE, dtype: str = "float32"
) -> Looked:
    """What a model without a name saw."""
    model = ModelIdentity("none", "none", len(embedding), 100.0, "fp32", "none")
    published = embedding.astype(dtype) if embedding.dtype != np.float16 else embedding
    return Looked(published, model, image, "0" * 64, 1_000, "strict", "transformers")


def scored(
    scoring: Scoring, names: Iterable[str], embedding: npt.NDArray[np.floating]
) -> tuple[LabelSetResult, ...]:
    """What label sets say of an image of which the model saw everything."""
    return scoring.judge(tuple(names), looked_at(embedding))
