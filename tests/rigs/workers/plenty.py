"""A supply of objects that never fails, unless a test says so."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.records import Partition


@dataclass
class Plenty:
    """Implements ``workers.stream.intake.Supply``."""

    available: bool = True
    sources_aside: frozenset[Partition] = frozenset()
    room_aside: int = 1000
