"""Defaults that fit a worker's node: its decoders, its model's threads, its largest batch.

| | on a GPU | on CPUs |
|---|---|---|
| cores of a worker | the node's, divided by the workers that its GPUs have room for | the node's, \
divided by this driver's workers on it |
| `decode.processes` | its cores, 16 at most | the same |
| `model.threads` | its cores | the same |
| `batch.max_size` | 128 | 32 |

Cores are those that the worker's process may use, by affinity and cgroup quota. A worker has at
least one. Values that are set stay.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.decode.policy import MAX_DEFAULT_PROCESSES
from pipeline.encode.policy import DEFAULT_SIZE
from workers.settings.loading import Settings

GPU_BATCH = 128
"""A GPU is near its best at 256 and more. Decoders deliver some 3,000 images a second, so larger
batches would not fill."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A worker's share of its node, for settings that nobody has set."""

    processes: int
    threads: int
    max_size: int


def fit(cores: int, workers: int, device: str) -> Fitted:
    """The defaults for one of ``workers`` on a node. ``device`` is that of the model, cpu or
    cuda."""
    share = max(1, cores // workers)
    return Fitted(
        processes=min(MAX_DEFAULT_PROCESSES, share),
        threads=share,
        max_size=GPU_BATCH if device == "cuda" else DEFAULT_SIZE,
    )


def fitted(settings: Settings, cores: int, workers: int) -> tuple[Settings, str]:
    """Settings with every value of the node filled in, and a description of what was chosen."""
    device = settings.model.device
    chosen = fit(cores, workers, device)
    processes = settings.decode.processes or chosen.processes
    threads = settings.model.threads or chosen.threads
    max_size = settings.batch.max_size or chosen.max_size
    told = ", ".join(
        f"{key} {value}{' (set)' if was is not None else ''}"
        for key, value, was in (
            ("decode.processes", processes, settings.decode.processes),
            ("model.threads", threads, settings.model.threads),
            ("batch.max_size", max_size, settings.batch.max_size),
        )
    )
    changed = settings.model_copy(
        update={
            "decode": settings.decode.model_copy(update={"processes": processes}),
            "model": settings.model.model_copy(update={"threads": threads}),
            "batch": settings.batch.model_copy(update={"max_size": max_size}),
        }
    )
    return changed, f"{device}; {cores} cores for {workers} workers at most: {told}"
