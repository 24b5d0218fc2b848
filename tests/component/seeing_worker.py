"""A worker that notes what its process was given, and waits to be stopped. Runs in a Ray actor."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from workers.health import Health
from workers.settings.loading import Settings


class SeeingWorker:
    """Built, and the worker itself."""

    metrics_port = None

    def __init__(self) -> None:
        self._stopped = threading.Event()

    @property
    def worker(self) -> SeeingWorker:
        return self

    def run(self) -> None:
        self._stopped.wait()

    def stop(self, grace_s: float) -> None:
        self._stopped.set()

    def health(self) -> Health | None:
        return None

    def close(self) -> None: ...


def build(folder: Path, settings: Settings, slot: int) -> SeeingWorker:
    """With its first argument bound, a ``workers.cluster.actors.Build``."""
    import ray

    password = settings.kafka.security.password
    seen = {
        "node": ray.get_runtime_context().get_node_id(),
        "reserved": ray.get_runtime_context().get_accelerator_ids()["GPU"],
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "torch": "torch" in sys.modules,
        "device": settings.model.device,
        "gpus": settings.workers.gpus_per_worker,
        "cpus": settings.workers.cpus_per_worker,
        "max_size": settings.batch.max_size,
        "processes": settings.decode.processes,
        "password": password.get_secret_value() if password else None,
    }
    unfinished = folder / f"{slot}.part"
    unfinished.write_text(json.dumps(seen))
    unfinished.rename(folder / str(slot))
    return SeeingWorker()
