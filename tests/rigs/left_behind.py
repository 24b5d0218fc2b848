"""Processes that a command has left behind."""

from __future__ import annotations

import os
from pathlib import Path


def children_of(session: str) -> list[str]:
    """Command lines of the processes that inherited a marked environment."""
    return list(processes_of(session).values())


def processes_of(session: str) -> dict[int, str]:
    """The same by their ids."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is not ours
        if f"DEMO_TEST_SESSION={session}".encode() in environment:
            found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found
