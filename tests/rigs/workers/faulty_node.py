"""A worker whose node may come to lack credentials; runs in a Ray actor."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import Halt
from tests.rigs.workers import fixed_time_worker
from workers.settings.loading import Settings
from workers.stream.wiring import BuiltStreamWorker

FAULTY_SLOT = 1
BATCH_S = 0.01


def build(group: str, folder: Path, settings: Settings, slot: int) -> BuiltStreamWorker:
    """With its first two arguments bound, a ``workers.cluster.actors.Build``. It notes its process
    in the folder, and fails while the folder says so.

    Raises:
        Halt: ``s3.no_credentials``.
    """
    if slot == FAULTY_SLOT and fault(folder).exists():
        raise Halt("s3.no_credentials", "s3: no credentials on this node")
    process(folder, slot).write_text(str(os.getpid()))
    return fixed_time_worker.build(group, BATCH_S, settings, slot)


def fault(folder: Path) -> Path:
    """While this file exists, the node of the faulty slot has no credentials."""
    return folder / "fault"


def process(folder: Path, slot: int) -> Path:
    """Holds the process id of the slot's latest worker."""
    return folder / f"process-{slot}"
