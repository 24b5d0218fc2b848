"""The picture of a soak: memory, file descriptors and threads over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

if TYPE_CHECKING:
    from tests.fault.soak import Sample

INCHES = (9.0, 6.5)


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Write a picture of the samples; the outage is shaded."""
    minutes = [each.at_s / 60 for each in samples]
    figure, (memory, work, others) = pyplot.subplots(
        3, 1, sharex=True, figsize=INCHES, height_ratios=(2, 1, 1), layout="constrained"
    )
    memory.plot(minutes, [each.memory_mib for each in samples], label="worker")
    memory.plot(minutes, [each.decoders_mib for each in samples], label="decoder processes")
    memory.set_ylabel("private memory, MiB")
    memory.legend(loc="center left")
    work.plot(minutes, [each.committed / 1000 for each in samples], color="black")
    work.set_ylabel("committed,\nthousands")
    others.plot(minutes, [each.descriptors for each in samples], label="file descriptors")
    others.plot(minutes, [each.threads for each in samples], label="threads")
    others.set_ylabel("number")
    others.legend(loc="lower left")
    others.set_xlabel("minutes")
    outage = [each.at_s / 60 for each in samples if each.outage]
    for axes in (memory, work, others):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if outage:
            axes.axvspan(outage[0], outage[-1], color="tab:red", alpha=0.12)
    if outage:
        middle = (outage[0] + outage[-1]) / 2
        above = (middle, 1.02)
        memory.annotate("store away", above, xycoords=memory.get_xaxis_transform(), ha="center")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
