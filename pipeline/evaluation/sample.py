"""Images, and what people say they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Truth = npt.NDArray[np.bool_]
"""bool [images] or [images, labels]: whether the label is true of the image."""
Scores = npt.NDArray[np.float64]
"""float64 [images] or [images, labels], 0 to 1."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a sample. ``name`` is the path that people know it by. Images of one ``group``
    resemble each other: they are never divided. None: nobody says. ``read`` returns the bytes of
    the file. ``attributes`` are values by which rates are compared: age, language, region.

    ``read`` raises OSError.
    """

    name: str
    labels: frozenset[str]
    group: str | None
    read: Callable[[], bytes]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """Images with their labels.

    ``judged`` are the labels that people looked for in every image, in the order of the sample. An
    image that lacks one of them does not show it. Of any other label nothing is known.
    """

    images: tuple[LabelledImage, ...]
    judged: tuple[str, ...]

    def truth(self, labels: Sequence[str], kept: Sequence[int]) -> Truth:
        """bool [kept, labels], for the images at the places ``kept``."""
        rows = [[label in self.images[place].labels for label in labels] for place in kept]
        return np.array(rows, dtype=np.bool_).reshape(len(kept), len(labels))

    def groups(self, kept: Sequence[int], hashes: Sequence[str]) -> npt.NDArray[np.intp]:
        """A number for each image's group, [kept]. Without a group, files of the same content are
        one: ``hashes`` are those of the contents, [kept]."""
        names = [
            f"sha256:{content}" if (group := self.images[place].group) is None else f"={group}"
            for place, content in zip(kept, hashes, strict=True)
        ]
        return np.unique(names, return_inverse=True)[1].reshape(-1)
