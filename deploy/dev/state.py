"""The user's folder for what runs and outlives a command: process ids, logs, data."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(*names: str) -> Path:
    """Folder of that name for Clipstream in the user's state (``XDG_STATE_HOME``). Not created."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return root.joinpath("clipstream", *names)
