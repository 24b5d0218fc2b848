"""Writes images of the demo with their labels, as a folder that `clipstream labels test` reads."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from workers.demo.shapes import COLOURS, NOTHING, SHAPES, demo_images

SEED = 20_261_129
"""Not the demo's own, and none that its model was trained with."""

LIST = "sample.csv"
SIDE_PX = (80, 240)
"""Shortest and longest side: small enough for thousands of images."""


def write_sample(folder: Path, images: int) -> None:
    """Make ``folder`` with one folder for each label, ``images`` in all, and ``sample.csv``, which
    names each image's colour and shape, and has a column for each of them and for nothing. The same
    number makes the same images.

    Raises:
        FileExistsError: ``folder`` exists.
    """
    folder.mkdir(parents=True)
    with (folder / LIST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        words = (*COLOURS, *SHAPES, NOTHING)
        rows.writerow(("path", "label", "colour", "shape", *words))
        for image in demo_images(SEED, images, SIDE_PX):
            label = str(image.truth)
            place = Path(label, PurePosixPath(image.key).name)
            (folder / label).mkdir(exist_ok=True)
            (folder / place).write_bytes(image.body)
            colour, shape = ("", "") if label == NOTHING else label.split()
            shown = (int(word in label.split()) for word in words)
            rows.writerow((place, label, colour, shape, *shown))
