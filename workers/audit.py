"""The audit log: who changed, loaded, replayed, revealed or erased what.

Its lines are written whatever ``log.level`` is. docs/logs.md lists them and their fields.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
from enum import StrEnum

_log = logging.getLogger("clipstream.audit")


class Act(StrEnum):
    """What was done. New acts may appear."""

    LOADED = "loaded"
    """A label set, a list of known pictures or keys are in force from now on."""
    UNLOADED = "unloaded"
    """A label set or a list of known pictures is no longer in force."""
    REPLAYED = "replayed"
    """Dead letters are sent back to their input topics."""
    REVEALED = "revealed"
    """A person has looked at an image that was blurred."""
    ERASED = "erased"
    """Rows of a backfill were erased."""
    CREATED = "created"
    """A key was made."""
    REVOKED = "revoked"
    """A key was taken out of its file."""


def note(act: Act, who: str, what: str) -> None:
    """Write a line. ``who`` is a key, a person or a setting. Neither text may have line breaks."""
    _log.info("%s by %s: %s", act, who, what, extra={"act": str(act), "who": who, "what": what})


def operator() -> str:
    """Who runs this process: user and machine."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
