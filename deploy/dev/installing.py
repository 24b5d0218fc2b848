"""Programs of others that fetch or build what tests start."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.embedded.processes import ServiceError


def install(
    command: Sequence[str],
    deadline_s: float,
    advice: str,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run the command in the folder until it ends.

    Raises ``ServiceError`` when it fails, with the advice and its own words.
    """
    done = subprocess.run(  # noqa: S603 - the commands are ours, no shell
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=deadline_s,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceError(
            f"{' '.join(command)} failed (status {done.returncode}); {advice}:\n{done.stdout}"
        )
