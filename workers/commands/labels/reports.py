"""The pages of `clipstream labels test` and `labels tune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.ranking import curve
from pipeline.evaluation.sample import LabelledImage, Scores, Truth
from workers.backfill.report.charts import line
from workers.commands.evaluation.page import write_page
from workers.commands.evaluation.pictures import pictures
from workers.commands.evaluation.scoring import Scored
from workers.commands.labels.tested import Tested, TestedLabel
from workers.settings.loading import Settings

MOST_POINTS = 200
"""Of a curve on a page."""

Shown = list[tuple[LabelledImage, float]]


def write_test_report(path: Path, settings: Settings, scored: Scored, tested: Tested) -> None:
    """Everything that was found, with pictures of the worst mistakes. Runs an event loop.

    Raises:
        Halt: as ``workers.decoding.decoding``.
    """
    details = [_details(scored, label) for label in tested.labels]
    shown = {image.name: image for each in details for image, _ in (*each[-2], *each[-1])}
    values = common(scored) | {
        "tested": tested,
        "outcomes": list(tested.outcomes()),
        "details": details,
        "pictures": pictures(settings, shown.values()),
    }
    write_page(path, "test.html.jinja", values)


def common(scored: Scored) -> dict[str, Any]:
    """What the foot of every page says."""
    return {
        "label_set": scored.label_set,
        "model": scored.model,
        "images": len(scored.scores),
        "digest": scored.embedded.digest,
        "refused": scored.embedded.refused,
    }


def precision_recall(scores: Scores, truth: Truth) -> str:
    """The curve of a label as a path of SVG."""
    found = curve(scores, truth)
    places = np.unique(np.linspace(0, len(found.recall) - 1, MOST_POINTS).astype(int))
    return line(
        list(zip(found.recall[places].tolist(), found.precision[places].tolist(), strict=True))
    )


def _details(
    scored: Scored, label: TestedLabel
) -> tuple[TestedLabel, str, list[tuple[float, float]], Shown, Shown]:
    """A label, its curve, the places of its thresholds on the curve, and its worst mistakes: false
    alarms at the threshold of the stronger action, misses at the lower one."""
    place = [each.name for each in scored.label_set.labels].index(label.name)
    scores, truth = scored.scores[:, place], scored.truth[:, place]
    marks = [
        (recall, precision)
        for at in label.thresholds
        if (recall := at.counts.recall.value) is not None
        if (precision := at.counts.precision.value) is not None
    ]
    path = precision_recall(scores, truth) if label.positives else ""
    if not label.thresholds:
        return label, path, marks, [], []
    false_alarms = _shown(scored, label.thresholds[-1].mistakes.false_alarms, scores)
    return (
        label,
        path,
        marks,
        false_alarms,
        _shown(scored, label.thresholds[0].mistakes.missed, scores),
    )


def _shown(scored: Scored, places: Sequence[int], scores: Scores) -> Shown:
    images = scored.embedded.images
    return [(images[place], float(scores[place])) for place in places]
