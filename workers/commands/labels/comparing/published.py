"""Compares the results of two label sets that the stream has published for the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.adapters.kafka.recorded.events import classified
from pipeline.errors import Halt
from pipeline.labels.blocks import block_of
from pipeline.labels.comparing import Comparer, Comparison
from pipeline.labels.label_set import LabelSet
from pipeline.records import LabelSetResult, ModelIdentity
from workers.commands.labels.comparing.sources import FoundImage, Selection, found_image
from workers.settings.loading import Settings

BLOCK = 1_024
"""Images that are compared at a time."""


@dataclass(frozen=True, slots=True)
class Published:
    """What changes among the images of one model. ``notes`` say what is left out."""

    source: str
    model: ModelIdentity
    comparison: Comparison[FoundImage]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _OfModel:
    """The images of one model, and those of them that are not compared yet."""

    model: ModelIdentity
    sets: tuple[LabelSet, LabelSet]
    comparer: Comparer[FoundImage]
    results: list[tuple[LabelSetResult, LabelSetResult]] = field(default_factory=list)
    images: list[FoundImage] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)

    def compare(self) -> None:
        before, now = (
            block_of(label_set, [pair[place] for pair in self.results])
            for place, label_set in enumerate(self.sets)
        )
        self.comparer.add(before, now, self.images, np.array(self.times_s))
        self.results, self.images, self.times_s = [], [], []


def compare_published(
    settings: Settings, before: LabelSet, now: LabelSet, selection: Selection, most_samples: int
) -> Published:
    """Compare the results that events hold of both versions. Nothing is scored: the decisions are
    those of the stream, of all views and after ``review_if``. The model is that of the newest
    image. Blocks for minutes on a large topic.

    Raises:
        Halt: ``label_set.no_embeddings``: no event holds both; or the topic cannot be read.
        Retry: the broker does not answer.
    """
    versions = (before.version, now.version)
    models: dict[tuple[str, str], _OfModel] = {}
    newest: _OfModel | None = None
    lacking = [0, 0]
    left_out = images = 0
    for image, event in classified(settings.kafka, selection.since, selection.newest):
        results = {each.version: each for each in event.results}
        missing = [version not in results for version in versions]
        images += 1
        if any(missing):
            lacking = [count + lacks for count, lacks in zip(lacking, missing, strict=True)]
            left_out += 1
            continue
        key = (event.model.name, event.model.revision)
        if key not in models:
            comparer: Comparer[FoundImage] = Comparer(before, now, most_samples)
            models[key] = _OfModel(event.model, (before, now), comparer)
        newest = models[key]
        newest.results.append((results[versions[0]], results[versions[1]]))
        newest.images.append(found_image(image))
        newest.times_s.append(image.at_s)
        if len(newest.images) == BLOCK:
            newest.compare()
    source = settings.kafka.output_topics.classifications
    if newest is None:
        raise _nothing(source, images, lacking, (before, now))
    others = 0
    for each in models.values():
        if each.images:
            each.compare()
        if each is not newest:
            others += each.comparer.result().images
    notes = []
    if others:
        notes.append(f"{others} images of other models are left out")
    if left_out:
        notes.append(f"{left_out} images were not scored with both versions")
    return Published(source, newest.model, newest.comparer.result(), tuple(notes))


def _nothing(
    source: str, images: int, lacking: Sequence[int], label_sets: tuple[LabelSet, LabelSet]
) -> Halt:
    scored = " and ".join(
        f"{images - missing} with {each.name} {each.version}"
        for each, missing in zip(label_sets, lacking, strict=True)
    )
    return Halt(
        "label_set.no_embeddings",
        f"{source}: no event holds results of both label sets ({images} images: {scored}); name "
        "versions that score the same images, or leave out --embeddings events",
    )
