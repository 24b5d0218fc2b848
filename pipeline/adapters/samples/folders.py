"""A folder with one folder of images for each label, as torchvision's ImageFolder reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.complaints import alike, instead
from pipeline.errors import Halt
from pipeline.evaluation.sample import LabelledImage, Sample

NO_LABEL = "none"
"""The folder, or the label in a table, of images that show none of the labels. A label of this name
is a label like others."""


def read_folder(folder: Path, labels: Sequence[str] | None) -> Sample:
    """
    Raises:
        Halt: ``sample.invalid``.
    """
    names = sorted(place.name for place in folder.iterdir() if place.is_dir())
    if not names:
        raise Halt(
            "sample.invalid", f"{folder}: has no folders; put images into one folder for each label"
        )
    images = [
        LabelledImage(str(file.relative_to(folder)), shown, None, file.read_bytes)
        for name in names
        for shown in [labels_of(name, labels, str(folder / name))]
        for file in sorted((folder / name).rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    ]
    if not images:
        raise Halt("sample.invalid", f"{folder}: its folders have no files; add images")
    return Sample(tuple(images), tuple(labels) if labels is not None else tuple(names))


def labels_of(name: str, labels: Sequence[str] | None, where: str) -> frozenset[str]:
    """The label of a name.

    Raises:
        Halt: ``sample.invalid``: there are ``labels``, and the name is none of them.
    """
    if labels is None or name in labels:
        return frozenset((name,))
    if name == NO_LABEL:
        return frozenset()
    raise Halt(
        "sample.invalid",
        f"{where}: {name!r} is no label of the set; {instead(alike(name, labels), labels)}, or "
        f"{NO_LABEL!r} for images that show none of them",
    )
