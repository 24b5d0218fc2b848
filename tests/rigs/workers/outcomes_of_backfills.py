"""Outcomes of rows, made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.records import (
    Classification,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
)

MODEL = ModelIdentity("tiny", "sha256:0", 4, 100.0, "fp32", "memory")
LABEL_SET = "animals"


def classification(
    scores: Mapping[str, float],
    *,
    matched: tuple[str, ...] = (),
    decision: str = "none",
    key: str = "a.jpg",
    etag: str | None = "e",
) -> Classification:
    """A row's outcome under one label set, ``LABEL_SET``."""
    facts = ImageFacts("JPEG", 8, 8, 1, 0.0)
    vector = np.array([1, 0, 0, 0], np.float32)
    return Classification(
        ImageRef("photos", key, (LABEL_SET,)),
        Looked(vector, MODEL, facts, "0" * 64, 1_000, "fast", "centre"),
        (
            LabelSetResult(
                LABEL_SET,
                "sha256:1",
                tuple(LabelScore(label, score, 0.2) for label, score in scores.items()),
                matched,
                decision,
            ),
        ),
        etag,
        None,
    )
