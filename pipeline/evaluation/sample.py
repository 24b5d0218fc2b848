"""Images, and what people say they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Truth = npt.NDArray[np.bool_]
"""bool [images] or [images, labels]: whether the label is true of the image."""
Scores = npt.NDArray[np.float64]
"""float64 [images] or [images, labels], 0 to 1."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a sample. ``name`` is the path that people know it by. Images of one ``group``
    resemble each other: they are never divided. ``read`` returns the bytes of the file.

    ``read`` raises OSError.
    """

    name: str
    labels: frozenset[str]
    group: str
    read: Callable[[], bytes]


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

    def groups(self, kept: Sequence[int]) -> npt.NDArray[np.intp]:
        """A number for each image's group, [kept]."""
        _, numbers = np.unique([self.images[place].group for place in kept], return_inverse=True)
        return numbers.reshape(-1)
