"""The user's cache folder: what was downloaded or built once, kept by version outside the tree."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(*names: str) -> Path:
    """Folder of that name for Clipstream in the user's cache (``XDG_CACHE_HOME``); not created."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root.joinpath("clipstream", *names)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; blocks while another one holds it.

    The kernel lets go of the lock with its process, so none is ever left behind. The lock is
    advisory, and its file stays: removing it would let two processes hold locks on different files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
