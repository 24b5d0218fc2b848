"""The commit of a shard: its results object is created, or it was created before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from pipeline.backfill import layout
from pipeline.errors import Halt, Retry
from pipeline.ports import Folder

ATTEMPT = "clipstream-attempt"
PLAN = "clipstream-plan"
"""User metadata of a data file: who wrote it, and for which plan."""

_WAITS_S = (0.1, 0.5, 2.0, 5.0)
"""Waits between tries while the store contradicts itself, because two writers are at it."""

Wait = Callable[[float], object]


class Committed(StrEnum):
    HERE = "here"
    BEFORE = "before"
    """Another attempt was first. Its rows count, and these are dropped."""


def commit(
    folder: Folder,
    name: str,
    body: bytes,
    attempt: str,
    plan_hash: str,
    wait: Wait = time.sleep,
) -> Committed:
    """Create a data file, whatever happened to earlier answers about it. Blocks. May be called
    again after any error, with the same ``attempt``.

    A store answers that the object exists both to whoever comes second and to a writer whose first
    answer was lost, and may answer so while two writers are at it and neither is done. The object
    itself says whose it is.

    Raises:
        Halt: ``backfill.foreign_output``: the object is of another job.
        StoreDenied, Retry: the store failed, or keeps contradicting itself.
    """
    metadata = {ATTEMPT: attempt, PLAN: plan_hash}
    for _ in _tries(wait):
        if folder.create(name, body, metadata):
            return Committed.HERE
        found = folder.metadata(name)
        if found is not None:
            _require_own(name, found.get(PLAN), plan_hash)
            return Committed.HERE if found.get(ATTEMPT) == attempt else Committed.BEFORE
    raise _undecided(name)


def create_once(folder: Folder, name: str, body: bytes, wait: Wait = time.sleep) -> bytes:
    """Create an object that never changes afterwards. Returns what it holds: ``body``, or what
    another writer wrote first. Blocks.

    Raises:
        StoreDenied, Retry: the store failed, or keeps contradicting itself.
    """
    for _ in _tries(wait):
        if folder.create(name, body):
            return body
        found = folder.read(name)
        if found is not None:
            return found.body
    raise _undecided(name)


def committed_shards(folder: Folder, shards: int, plan_hash: str) -> set[int]:
    """The shards of a job that are committed: one listing, and one look at an object. Blocks.

    Raises:
        Halt: ``backfill.foreign_output``: there are data files of another job.
        StoreDenied, Retry: the store failed.
    """
    names = map(layout.shard_of, folder.names(layout.DATA))
    found = {shard for shard in names if shard is not None}
    if not found:
        return found
    last = max(found)
    name = layout.data_file(last)
    metadata = folder.metadata(name)
    if metadata is not None:
        _require_own(name, metadata.get(PLAN) if last < shards else None, plan_hash)
    return found


def require_unused(folder: Folder) -> None:
    """Refuse to plan a job into the results of another program, or of a job whose plan is gone.

    Raises:
        Halt: ``backfill.foreign_output``.
    """
    name = next(folder.names(layout.DATA), None)
    if name is not None and folder.metadata(layout.JOB) is None:
        raise _foreign(name)


def _require_own(name: str, found: str | None, plan_hash: str) -> None:
    if found != plan_hash:
        raise _foreign(name)


def _foreign(name: str) -> Halt:
    return Halt(
        "backfill.foreign_output",
        f"{name}: belongs to another job, or was written by another program; choose an empty "
        "output",
    )


def _tries(wait: Wait) -> Iterator[None]:
    for seconds in _WAITS_S:
        yield
        wait(seconds)
    yield


def _undecided(name: str) -> Retry:
    return Retry("output.undecided", f"{name}: the store says that it exists, and that it does not")
