"""Writes images of the demo with their labels, as a folder that `clipstream labels test` reads."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from workers.demo.shapes import COLOURS, SHAPES, demo_images

SEED = 20_261_129
"""Not the demo's own, and none that its model was trained with."""

LIST = "sample.csv"


def write_sample(folder: Path, images: int) -> None:
    """Make ``folder`` with one folder for each label, ``images`` in all, and ``sample.csv``, which
    has a column for each colour and shape. The same number makes the same images.

    Raises:
        FileExistsError: ``folder`` exists.
    """
    folder.mkdir(parents=True)
    with (folder / LIST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        words = (*COLOURS, *SHAPES)
        rows.writerow(("path", "label", *words))
        for image in demo_images(SEED, images):
            label = str(image.truth)
            place = Path(label, PurePosixPath(image.key).name)
            (folder / label).mkdir(exist_ok=True)
            (folder / place).write_bytes(image.body)
            rows.writerow((place, label, *(int(word in label.split()) for word in words)))
