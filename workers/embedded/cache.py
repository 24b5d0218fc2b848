"""The user's cache folder: things that were downloaded or built once, kept by version outside the
tree."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(*names: str) -> Path:
    """Folder of that name for Clipstream in the user's cache (``XDG_CACHE_HOME``). Not created."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that relative paths are ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root.joinpath("clipstream", *names)


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the folder against other processes. Yields whether it is held. While another process
    holds the folder, this call blocks; without ``wait`` it yields False at once.

    The kernel releases the lock when the process ends, so none is ever left behind. The lock is
    advisory. Its file stays, because removing it would let two processes hold locks on different
    files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = False
        else:
            held = True
        yield held
