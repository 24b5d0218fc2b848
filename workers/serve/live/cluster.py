"""What is known of replicas and stream workers. A replica knows itself alone, and the workers that
the discovery file lists; whoever runs several replicas knows more."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter, samples
from pipeline.ports import Meter
from pipeline.records import ModelIdentity
from workers.endpoints.identity import STREAM
from workers.serve.admission.room import Room
from workers.serve.live.outcome import Object
from workers.serve.standing import Standing

ANSWER_S = 1.0
"""Wait for the metrics of a worker."""

Sample = tuple[str, dict[str, str], float]
"""Name, labels and value."""

Values = Mapping[tuple[str, str], float]
"""Values of metrics by name and stage, summed over their other labels."""


class ClusterView(Protocol):
    """Tells about all replicas and workers."""

    async def replicas(self) -> Sequence[Object]:
        """For each: id, node, device, state, why, in_flight, queue, images."""

    async def workers(self) -> Sequence[Object] | None:
        """For each: slot, driver, device, state, committed, lag. None: nothing is known of
        workers."""


class ThisReplica:
    """Tells about the replica that is asked."""

    def __init__(
        self,
        model: ModelIdentity,
        standing: Standing,
        room: Room,
        values: Callable[[], Values],
        discovery_file: str | None,
    ) -> None:
        self._model = model
        self._standing = standing
        self._room = room
        self._values = values
        self._discovery_file = discovery_file

    async def replicas(self) -> Sequence[Object]:
        standing, values = self._standing, self._values()
        failure = standing.failure
        state = "failed" if failure else "draining" if standing.draining else "ready"
        node = socket.gethostname()
        return [
            {
                "id": f"{node}-{os.getpid()}",
                "node": node,
                "device": self._model.engine,
                "state": state,
                "why": None if failure is None else str(failure),
                "in_flight": self._room.images,
                "queue": round(_of(values, metrics.QUEUE_DEPTH)),
                "images": round(values.get((f"{metrics.BATCH_SIZE.name}_sum", ""), 0)),
            }
        ]

    async def workers(self) -> Sequence[Object] | None:
        if self._discovery_file is None:
            return None
        listed = await asyncio.to_thread(_listed, Path(self._discovery_file))
        return await asyncio.gather(*(asyncio.to_thread(_worker, *each) for each in listed))


def values_in(meter: Meter) -> Values:
    """The values of this process. Only the meter of Prometheus can be read."""
    if not isinstance(meter, PrometheusMeter):
        return {}
    return values_of(samples(meter.registry))


def values_of(told: Iterable[Sample]) -> Values:
    """The sums of the samples, whatever their labels but the stage."""
    values: defaultdict[tuple[str, str], float] = defaultdict(float)
    for name, labels, value in told:
        values[name, labels.get("stage", "")] += value
    return values


def _of(values: Values, metric: metrics.Metric) -> float:
    return sum(value for (name, _), value in values.items() if name == metric.name)


def _device_in(told: Iterable[Sample]) -> str | None:
    """What the model runs on. None until the model is loaded."""
    models = (labels for name, labels, _ in told if name == metrics.MODEL_INFO.name)
    return next((labels["engine"] for labels in models), None)


def _listed(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Address and labels of each stream worker. Empty where no driver runs."""
    try:
        groups: list[dict[str, Any]] = json.loads(path.read_text() or "[]")
    except (OSError, ValueError):
        return []
    return [
        (target, group["labels"])
        for group in groups
        if group["labels"].get("kind", STREAM) == STREAM
        for target in group["targets"]
    ]


def _worker(target: str, labels: dict[str, str]) -> Object:
    told: Object = {"slot": labels.get("worker"), "driver": labels.get("driver")}
    host, _, port = target.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        exposed = list(samples(connection.getresponse().read().decode()))
    except (OSError, ValueError, http.client.HTTPException):
        return told | {"device": None, "state": "silent", "committed": None, "lag": None}
    finally:
        connection.close()
    values = values_of(exposed)
    return told | {
        "device": _device_in(exposed),
        "state": "ready",
        "committed": round(_of(values, metrics.REFERENCES)),
        "lag": round(_of(values, metrics.LAG)),
    }
