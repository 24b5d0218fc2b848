"""What Ray reserves for a worker. Decided once, when the driver starts, from what the cluster has.

Pure: ``workers.cluster.actors`` asks Ray, and every worker is told the decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.decode.policy import MAX_DEFAULT_PROCESSES
from workers.settings.loading import Settings

CPUS_WITHOUT_GPU = 1.0

NO_GPU = (
    "workers.gpus_per_worker: auto found no GPU in the Ray cluster, so workers run on CPUs; "
    "write 0 if that is intended, or 1 if nodes with GPUs come later"
)


@dataclass(frozen=True, slots=True)
class Room:
    """The total that Ray counts on a node, in use or not."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Resources:
    """A cluster's nodes, and one node of each group that its autoscaler can add."""

    nodes: tuple[Room, ...]
    addable: tuple[Room, ...] = ()

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for each worker. ``why`` says where the number of GPUs comes from.
    ``warning`` says what may surprise a person, or is empty."""

    gpus: float
    cpus: float
    why: str
    warning: str = ""

    def __str__(self) -> str:
        return f"{_counted(self.gpus, 'GPU')} and {_counted(self.cpus, 'CPU')} ({self.why})"

    def resolve(self, settings: Settings) -> Settings:
        """The settings that workers get. A worker with a GPU runs only on the GPU; a worker without
        one never does."""
        workers = {"gpus_per_worker": self.gpus, "cpus_per_worker": self.cpus}
        device = {"device": "cuda" if self.gpus else "cpu"}
        return settings.model_copy(
            update={
                "workers": settings.workers.model_copy(update=workers),
                "model": settings.model.model_copy(update=device),
            }
        )


def reserve(settings: Settings, resources: Resources) -> Reservation:
    """What each worker asks Ray for."""
    gpus, why, warning = _gpus(settings, resources)
    cpus = settings.workers.cpus_per_worker
    return Reservation(gpus, _cpus(gpus, resources) if cpus is None else cpus, why, warning)


def decided_before(settings: Settings) -> tuple[float, str] | None:
    """A worker's part of a GPU, and why, if the settings alone decide it."""
    asked, model = settings.workers.gpus_per_worker, settings.model
    if asked != "auto":
        return asked, "workers.gpus_per_worker"
    if model.device == "cpu":
        return 0.0, "model.device is cpu"
    if model.precision == "int8":
        return 0.0, "model.precision is int8, which runs on CPUs"
    if model.device == "cuda":
        return 1.0, "model.device is cuda"
    return None


def _gpus(settings: Settings, resources: Resources) -> tuple[float, str, str]:
    if (decided := decided_before(settings)) is not None:
        return (*decided, "")
    if resources.gpus:
        return 1.0, f"auto: the cluster has {_counted(resources.gpus, 'GPU')}", ""
    if any(group.gpus for group in resources.addable):
        return 1.0, "auto: the autoscaler can add nodes with GPUs", ""
    return 0.0, "auto: the cluster has no GPU", NO_GPU


def _cpus(gpus: float, resources: Resources) -> float:
    """The CPUs that go with a worker's part of the GPUs, on the node that has the fewest CPUs for
    it; at most what its decoders use."""
    rooms = (*resources.nodes, *resources.addable)
    able = [room for room in rooms if room.gpus >= gpus and room.cpus >= 1] if gpus else []
    if not able:
        return CPUS_WITHOUT_GPU
    least = min(MAX_DEFAULT_PROCESSES, *(room.cpus * gpus / room.gpus for room in able))
    return float(math.floor(least)) if least >= 1 else math.floor(least * 100) / 100


def places(resources: Resources, reserved: Reservation) -> int | None:
    """Workers that an empty cluster has room for. None: any number, or the autoscaler may add
    nodes."""
    if resources.addable or not (reserved.gpus or reserved.cpus):
        return None
    return sum(
        min(
            _times(has, part)
            for has, part in ((node.gpus, reserved.gpus), (node.cpus, reserved.cpus))
            if part
        )
        for node in resources.nodes
    )


def workers_on(here: Room, nodes: Sequence[Room], reserved: Reservation, most: int) -> int:
    """The most workers of one driver to be expected on a node, of ``most`` that the driver may run.
    With GPUs: as many as the node's GPUs have room for. Without GPUs: the node's share of all
    workers."""
    if reserved.gpus:
        return max(1, _times(here.gpus, reserved.gpus))
    able = sum(node.cpus >= reserved.cpus for node in nodes)
    spread = math.ceil(most / max(1, able))
    return max(1, min(spread, _times(here.cpus, reserved.cpus)) if reserved.cpus else spread)


def _counted(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def _times(whole: float, part: float) -> int:
    """How often a part fits into a whole. Fractions of GPUs are rounded numbers."""
    return int(whole / part + 1e-9)
