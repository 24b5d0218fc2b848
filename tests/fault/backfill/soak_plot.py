"""The picture of a backfill's soak: memory and committed rows over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

if TYPE_CHECKING:
    from tests.fault.backfill.soak import Sample

INCHES = (9.0, 5.0)


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Write a picture of the samples."""
    minutes = [each.at_s / 60 for each in samples]
    figure, (memory, work) = pyplot.subplots(
        2, 1, sharex=True, figsize=INCHES, height_ratios=(2, 1), layout="constrained"
    )
    memory.plot(minutes, [each.driver_mib for each in samples], label="driver, all of it")
    working = [each for each in samples if each.worker_mib]
    memory.plot(
        [each.at_s / 60 for each in working],
        [each.worker_mib for each in working],
        label="worker, its own",
    )
    memory.set_ylabel("memory, MiB")
    memory.legend(loc="lower right")
    work.plot(minutes, [each.committed / 1e6 for each in samples], color="black")
    work.set_ylabel("committed,\nmillions of rows")
    work.set_xlabel("minutes")
    for axes in (memory, work):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
