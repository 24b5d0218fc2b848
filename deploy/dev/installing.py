"""Programs of others that fetch or build what tests start, and what they have made once."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workers.embedded.cache import locked
from workers.embedded.processes import ServiceError


def install(
    command: Sequence[str | Path],
    deadline_s: float,
    advice: str,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run the command in the folder until it ends; return what it prints.

    Raises ``ServiceError`` when it fails, with the advice and its own words, and when it is late.
    """
    words = " ".join(map(str, command))
    try:
        done = subprocess.run(  # noqa: S603 - the commands are ours, no shell
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise ServiceError(f"{words}: no end within {deadline_s:g} s; {advice}") from late
    if done.returncode != 0:
        raise ServiceError(
            f"{words} failed (status {done.returncode}); {advice}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def made_once(path: Path, make: Callable[[Path], Path]) -> Path:
    """Make the path unless it is there, and return it. Nobody ever sees a part of it.

    ``make`` works in an empty folder and returns what becomes the path. Processes that want the
    same path wait for one another.
    """
    if not path.exists():
        with locked(path.parent), tempfile.TemporaryDirectory(dir=path.parent) as incoming:
            # Another process may have made it while this one waited for the lock.
            if not path.exists():
                make(Path(incoming)).rename(path)
    return path
