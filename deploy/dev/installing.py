"""Programs of others that fetch or build what tests start."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

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
