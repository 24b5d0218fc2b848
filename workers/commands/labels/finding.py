"""Finds a label set by its file, its version or its name; and its labels' vectors without a GPU."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.adapters.clip.text_cache import CachedTexts
from pipeline.adapters.head_files import Unusable, with_weights
from pipeline.adapters.kafka.recorded.label_sets import read_label_sets
from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt, Retry
from pipeline.events.values.label_sets import LabelSetValue
from pipeline.labels.label_set import LabelSet
from pipeline.labels.recorded import label_set_of
from pipeline.labels.scoring import EncodeTexts
from pipeline.ports import Encoder
from pipeline.records import ModelIdentity, Vector
from workers.settings.loading import Settings
from workers.stages import another_model, load_for_texts

VERSION_PREFIX = "sha256:"
SHORTEST = 8
"""Fewest hexadecimal digits that stand for a version."""


def recorded_label_sets(settings: Settings) -> dict[str, LabelSetValue]:
    """The label sets on the topic, by version, oldest first.

    Raises:
        Halt: ``label_set.unknown``: the settings name no topic, or it cannot be read.
    """
    topic = settings.kafka.output_topics.label_sets
    if topic is None:
        raise Halt(
            "label_set.unknown",
            "kafka.output_topics.label_sets is null, so no label sets are recorded; give the file "
            "of the label set",
        )
    try:
        return read_label_sets(settings.kafka, topic)
    except (Halt, Retry) as failure:
        raise Halt(
            "label_set.unknown", f"{failure.message}; or give the file of the label set"
        ) from failure


def recorded(label_sets: dict[str, LabelSetValue], wanted: str) -> LabelSetValue:
    """The recorded label set of a version, of the beginning of one, or the newest of a name.

    Raises:
        Halt: ``label_set.unknown``.
    """
    if wanted in label_sets:
        return label_sets[wanted]
    digits = wanted.removeprefix(VERSION_PREFIX)
    if len(digits) >= SHORTEST:
        begins = [at for at in label_sets if at.startswith(VERSION_PREFIX + digits)]
        if len(begins) == 1:
            return label_sets[begins[0]]
    named = [each for each in label_sets.values() if each["name"] == wanted]
    if named:
        return named[-1]
    names = ", ".join(sorted({each["name"] for each in label_sets.values()})) or "none"
    raise Halt(
        "label_set.unknown",
        f"label set {wanted}: is not recorded; recorded names: {names}. `clipstream labels show` "
        "lists their versions",
    )


def of_version(settings: Settings, files: Sequence[Path], version: str) -> LabelSet:
    """The label set of a version: of ``files``, else of ``label_sets.paths``, else of the topic.

    Raises:
        Halt: ``label_set.unknown``, ``label_set.unproven``; or a given file is not valid.
    """
    near = list(load_label_sets(files)) if files else []
    if not files and settings.label_sets.paths:
        near = list(load_label_sets(settings.label_sets.paths))
    for label_set in near:
        if label_set.version == version:
            return label_set
    there = ", ".join(f"{each.name} {each.version}" for each in near) or "none"
    try:
        value = recorded_label_sets(settings).get(version)
    except Halt as failure:
        raise Halt(
            failure.code,
            f"label set version {version}: not among the files ({there}), and {failure.message}",
        ) from failure
    if value is None:
        raise Halt(
            "label_set.unknown",
            f"label set version {version}: not among the files ({there}), and not on the topic; "
            "give the file that was used then",
        )
    return whole(value)


def whole(value: LabelSetValue) -> LabelSet:
    """A recorded label set, with the weights of its head if they are recorded.

    Raises:
        Halt: ``label_set.unproven``.
    """
    label_set = label_set_of(value["meaning"], value["version"])
    if "weights" not in value:
        return label_set
    try:
        return with_weights(label_set, base64.b64decode(value["weights"]))
    except (Unusable, ValueError) as error:
        raise Halt(
            "label_set.unproven",
            f"label set {value['version']}: its recorded weights cannot be used: {error}",
        ) from error


def named(settings: Settings, wanted: str) -> LabelSet:
    """The label set of a file, or a recorded one by version or name.

    Raises:
        Halt: ``label_set.unknown``, ``label_set.unproven``; or the file is not valid.
    """
    path = Path(wanted)
    if path.exists():
        found = load_label_sets([path])
        if len(found) > 1:
            raise Halt("label_set.invalid", f"{wanted}: has {len(found)} label sets; name one file")
        return found[0]
    value = recorded(recorded_label_sets(settings), wanted)
    return whole(value)


class Prompts:
    """Embeds prompts for images that were embedded before, perhaps on another machine. The model is
    loaded when the cache lacks a prompt, on the CPU."""

    def __init__(
        self,
        settings: Settings,
        model: ModelIdentity,
        load: Callable[[Settings], Encoder] = load_for_texts,
    ) -> None:
        """``model`` embedded the images. ``load`` returns the model."""
        self._settings = settings
        self._model = model
        self._load = load
        self._encoder: Encoder | None = None
        self.engine: str | None = None
        """What embedded prompts here; None if all came from the cache."""
        folder = settings.label_sets.text_cache_dir
        self._encode: EncodeTexts = self._embed
        if folder is not None:
            self._encode = CachedTexts(self._embed, model, folder, keep=False)

    def __call__(self, prompts: Sequence[str]) -> Vector:
        """
        Raises:
            Halt: ``model.*``; ``label_set.another_model``: the settings name another model.
        """
        return self._encode(prompts)

    def _embed(self, prompts: Sequence[str]) -> Vector:
        if self._encoder is None:
            self._encoder = self._load(self._settings)
        here = self._encoder.model
        require_same(self._model, here)
        self.engine = here.engine
        folder = self._settings.label_sets.text_cache_dir
        if folder is None:
            return self._encoder.encode_texts(prompts)
        return CachedTexts(self._encoder.encode_texts, here, folder)(prompts)


def require_same(of_images: ModelIdentity, here: ModelIdentity) -> None:
    """
    Raises:
        Halt: ``label_set.another_model``.
    """
    if (told := another_model(of_images, here)) is not None:
        raise Halt("label_set.another_model", told)
