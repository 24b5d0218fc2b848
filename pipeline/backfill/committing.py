"""The commit of a shard: its results object is created, or it was created before."""

from __future__ import annotations

from enum import StrEnum

from pipeline.errors import Halt, Retry
from pipeline.ports import Folder

ATTEMPT = "clipstream-attempt"
PLAN = "clipstream-plan"
"""User metadata of a data file: who wrote it, and for which plan."""

_TRIES = 5


class Committed(StrEnum):
    HERE = "here"
    BEFORE = "before"
    """Another attempt was first. Its rows count, and these are dropped."""


def commit(folder: Folder, name: str, body: bytes, attempt: str, plan_hash: str) -> Committed:
    """Create a data file, whatever happened to earlier answers about it. Blocks.

    A store answers that the object exists both to whoever comes second and to a writer whose first
    answer was lost, and may answer so while two writers are at it and neither is done. The object
    itself says whose it is.

    Raises:
        Halt: ``backfill.foreign_output``: the object is of another job.
        StoreDenied, Retry: the store failed, or keeps contradicting itself.
    """
    metadata = {ATTEMPT: attempt, PLAN: plan_hash}
    for _ in range(_TRIES):
        if folder.create(name, body, metadata):
            return Committed.HERE
        found = folder.metadata(name)
        if found is None:
            continue
        if found.get(PLAN) != plan_hash:
            raise Halt(
                "backfill.foreign_output",
                f"{name}: belongs to another job, or was written by another program; choose an "
                "empty output",
            )
        return Committed.HERE if found.get(ATTEMPT) == attempt else Committed.BEFORE
    raise Retry("backfill.undecided", f"{name}: the store says that it exists and that it does not")
