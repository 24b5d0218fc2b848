"""A machine of the cluster, as messages and placement name it."""

from __future__ import annotations

from typing import NamedTuple

ID_DIGITS = 8
"""Digits of a node's id that a message shows."""


class Node(NamedTuple):
    """``id`` is the cluster's id, ``host`` the machine's name."""

    id: str
    host: str

    def __str__(self) -> str:
        return f"{self.host} ({self.id[:ID_DIGITS]})"
