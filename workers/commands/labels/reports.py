"""The pages of `clipstream labels test` and `labels tune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.grouping import FEW_IMAGES
from pipeline.evaluation.ranking import curve
from pipeline.evaluation.reliability import Bin, calibration_error, reliability
from pipeline.evaluation.sample import LabelledImage, Scores, Truth
from workers.backfill.report.charts import line
from workers.commands.evaluation.page import write_page
from workers.commands.evaluation.pictures import pictures
from workers.commands.evaluation.scoring import Scored
from workers.commands.labels.grouped import Grouped
from workers.commands.labels.tested import Tested, TestedLabel
from workers.commands.labels.tuned import Found, TunedLabel
from workers.commands.labels.wordings.telling import bars
from workers.settings.loading import Settings

MOST_POINTS = 200
"""Of a curve on a page."""
MOST_STEPS = 1_000
"""Of a slider."""

Shown = list[tuple[LabelledImage, float]]


def write_test_report(
    path: Path,
    settings: Settings,
    scored: Scored,
    tested: Tested,
    grouped: Sequence[Grouped],
) -> None:
    """Everything that was found, with pictures of the worst mistakes. Runs an event loop.

    Raises:
        Halt: as ``workers.decoding.decoding``.
    """
    details = [_details(scored, label) for label in tested.labels]
    shown = {image.name: image for each in details for image, _ in (*each[-2], *each[-1])}
    values = common(scored) | {
        "tested": tested,
        "grouped": grouped,
        "few_images": FEW_IMAGES,
        "outcomes": list(tested.outcomes()),
        "details": details,
        "pictures": pictures(settings, shown.values()),
    }
    write_page(path, "test.html.jinja", values)


def write_tune_report(path: Path, found: Found) -> None:
    """Wordings and their differences; old and new thresholds on the held-out images, with a slider
    for any other; and the probabilities of these images beside their scores."""
    scored, held_out = found.scored, found.parts.held_out
    worded, tuned, calibrated = found.worded, found.tuned, found.calibrated
    names = [each.name for each in scored.label_set.labels]
    labels = [
        _plots(label, scored.scores[held_out, place], scored.truth[held_out, place])
        for label in (tuned.labels if tuned is not None else ())
        for place in [names.index(label.name)]
    ]
    diagrams = []
    for each in calibrated.labels if calibrated is not None else ():
        place = names.index(each.name)
        truth = scored.truth[held_out, place]
        before = reliability(scored.scores[held_out, place], truth)
        now = None if each.probabilities is None else reliability(each.probabilities, truth)
        diagrams.append((each, before, now))
    values = common(scored) | {
        "tuned": tuned,
        "worded": worded,
        "bars": [] if worded is None else bars(worded.labels),
        "labels": labels,
        "chosen_on": len(found.parts.chosen_on),
        "held_out": len(held_out),
        "calibrated": calibrated,
        "diagrams": diagrams,
        "calibration_error": calibration_error,
    }
    write_page(path, "tune.html.jinja", values, "slider.js")


@dataclass(frozen=True, slots=True)
class Plots:
    """What the page shows of a label. ``steps`` are thresholds that the slider stops at: score,
    matched images, and those of them that show the label."""

    label: TunedLabel
    curve: str
    steps: list[tuple[float, int, int]]
    bins: tuple[Bin, ...]
    calibration_error: float


def _plots(label: TunedLabel, scores: Scores, truth: Truth) -> Plots:
    bins = reliability(scores, truth)
    if not truth.any():
        return Plots(label, "", [], bins, calibration_error(bins))
    found = curve(scores, truth)
    places = _some(len(found.recall), MOST_STEPS)
    right = np.rint(found.recall[places] * truth.sum()).astype(int).tolist()
    reached = found.thresholds[places].tolist(), found.matched[places].tolist()
    steps = list(zip(*reached, right, strict=True))
    return Plots(label, precision_recall(scores, truth), steps, bins, calibration_error(bins))


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
    places = _some(len(found.recall), MOST_POINTS)
    return line(
        list(zip(found.recall[places].tolist(), found.precision[places].tolist(), strict=True))
    )


def _some(points: int, most: int) -> npt.NDArray[np.intp]:
    """Places of evenly spaced points, the first and the last included."""
    return np.unique(np.linspace(0, points - 1, min(points, most)).astype(np.intp))


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
