"""A fetch stage as the intake sees it: it takes whatever comes, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class Plenty:
    """Implements ``workers.stream.intake.Supply``."""

    available: bool = True
    serving: bool = True
    held_up: frozenset[Hashable] = frozenset()
    sources_aside: frozenset[Hashable] = frozenset()
    room_aside: int = 1000
