"""A machine of the cluster, as messages and the placing of workers name it."""

from __future__ import annotations

from typing import NamedTuple

ID_DIGITS = 8
"""As much of a node's id as tells it from the others in a message."""


class Node(NamedTuple):
    """``id`` is the cluster's, ``host`` the machine's name."""

    id: str
    host: str

    def __str__(self) -> str:
        return f"{self.host} ({self.id[:ID_DIGITS]})"
