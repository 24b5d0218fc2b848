"""Scores the images of a sample with a label set, as a worker does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from pipeline.adapters.clip.text_cache import cached
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.samples.reading import read_sample
from pipeline.errors import Halt
from pipeline.evaluation.sample import Scores, Truth
from pipeline.labels.blocks import score_views
from pipeline.labels.label_set import LabelSet
from pipeline.labels.scoring import compile_label_sets
from pipeline.ports import Encoder
from pipeline.records import ModelIdentity, Vector
from workers.commands.evaluation.embedding import Embedded, embed
from workers.settings.loading import Settings
from workers.stages import load_encoder


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A label set's scores of a sample, and the truth: both [images, labels], in the order of the
    images that could be used and of the set's labels. Of labels that the sample does not judge, the
    truth is False everywhere and means nothing. ``decisions`` [images] are places in the set's
    ``actions``: what the labels alone decide."""

    label_set: LabelSet
    model: ModelIdentity
    embedded: Embedded
    scores: Scores
    truth: Truth
    decisions: npt.NDArray[np.intp]

    def judges(self, label: str) -> bool:
        return label in self.embedded.sample.judged


class Seen:
    """A sample that the configured model has embedded, for any label set to score."""

    def __init__(self, settings: Settings, encoder: Encoder, embedded: Embedded) -> None:
        self.model = encoder.model
        self.embedded = embedded
        self._override_pin = settings.label_sets.override_model_pin
        folder = settings.label_sets.text_cache_dir
        self._encode = cached(encoder.encode_texts, encoder.model, folder)
        self._texts: dict[str, Vector] = {}

    def texts(self, prompts: Sequence[str]) -> Vector:
        """The embeddings of prompts, each embedded once."""
        missing = tuple(each for each in prompts if each not in self._texts)
        if missing:
            self._texts.update(zip(missing, self._encode(missing), strict=True))
        return np.stack([self._texts[each] for each in prompts])

    def score(self, label_set: LabelSet) -> Scored:
        """
        Raises:
            Halt: the label set is not for this model.
        """
        (compiled,) = compile_label_sets([label_set], self.texts, self.model, self._override_pin)
        block, _ = score_views(compiled, self.embedded.embeddings, self.embedded.firsts)
        names = tuple(label.name for label in label_set.labels)
        truth = self.embedded.sample.truth(names, self.embedded.kept)
        return Scored(label_set, self.model, self.embedded, block.scores, truth, block.decisions)


def see_sample(
    settings: Settings,
    label_set: LabelSet,
    images: Path,
    console: Console,
    group_by: str | None = None,
    attributes: Sequence[str] = (),
) -> Seen:
    """Read a sample of images for a label set, load the configured model, and embed. Shows
    progress.

    Raises:
        Halt: ``sample.invalid``, or the model cannot be loaded.
    """
    names = tuple(label.name for label in label_set.labels)
    sample = read_sample(images, names, group_by, attributes)
    if not sample.judged and any(label.expect for label in label_set.labels):
        raise Halt(
            "sample.invalid",
            f"{images}: has no labels, and {label_set.name} expects a precision or recall; add a "
            "column label, or test a set without expect",
        )
    encoder = load_encoder(settings)
    return Seen(settings, encoder, embed(settings, encoder, sample, console))


def label_set_of(file: Path) -> LabelSet:
    """The one label set of a file.

    Raises:
        Halt: ``label_set.invalid``.
    """
    label_set, *others = load_label_sets([file])
    if others:
        raise Halt("label_set.invalid", f"{file}: has several label sets; name the file of one")
    return label_set


def score_sample(
    settings: Settings,
    file: Path,
    images: Path,
    console: Console,
    group_by: str | None = None,
    attributes: Sequence[str] = (),
) -> Scored:
    """The scores of a sample for the label set of a file. Shows progress.

    Raises:
        Halt: as ``label_set_of``, ``see_sample`` and ``Seen.score``.
    """
    label_set = label_set_of(file)
    return see_sample(settings, label_set, images, console, group_by, attributes).score(label_set)
