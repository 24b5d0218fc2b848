"""Scores the images of a sample with a label set, as a worker does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from pipeline.adapters.clip.text_cache import CachedTexts
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.samples.reading import read_sample
from pipeline.errors import Halt
from pipeline.evaluation.sample import Scores, Truth
from pipeline.labels.blocks import score_block
from pipeline.labels.label_set import LabelSet
from pipeline.labels.scoring import compile_label_sets
from pipeline.records import ModelIdentity
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


def require_one_view(settings: Settings) -> None:
    """
    Raises:
        Halt: ``settings.invalid``: a worker would look at several views.
    """
    if settings.decode.views != "centre":
        raise Halt(
            "settings.invalid",
            "decode.views: scores of several views are not measured here; `-s decode.views=centre` "
            "measures those of the centre, which are never higher",
        )


def score_sample(
    settings: Settings,
    file: Path,
    images: Path,
    console: Console,
    group_by: str | None = None,
    attributes: Sequence[str] = (),
) -> Scored:
    """Read a label set and a sample, load the configured model, and score. Shows progress.

    Raises:
        Halt: the label set or the sample is not valid, or not for this model; or
            ``settings.invalid``: a worker would look at several views.
    """
    require_one_view(settings)
    label_set, *others = load_label_sets([file])
    if others:
        raise Halt("label_set.invalid", f"{file}: has several label sets; name the file of one")
    names = tuple(label.name for label in label_set.labels)
    sample = read_sample(images, names, group_by, attributes)
    if not sample.judged and any(label.expect for label in label_set.labels):
        raise Halt(
            "sample.invalid",
            f"{images}: has no labels, and {label_set.name} expects a precision or recall; add a "
            "column label, or test a set without expect",
        )
    encoder = load_encoder(settings)
    embedded = embed(settings, encoder, sample, console)
    texts = encoder.encode_texts
    if settings.label_sets.text_cache_dir is not None:
        texts = CachedTexts(texts, encoder.model, settings.label_sets.text_cache_dir)
    override = settings.label_sets.override_model_pin
    (compiled,) = compile_label_sets([label_set], texts, encoder.model, override)
    block = score_block(compiled, embedded.embeddings)
    truth = sample.truth(names, embedded.kept)
    return Scored(label_set, encoder.model, embedded, block.scores, truth, block.decisions)
