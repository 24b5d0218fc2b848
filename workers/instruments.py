"""``Instruments``: clock, meter and randomness as one argument, for all parts of a worker."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pipeline.ports import Clock, Meter


@dataclass(frozen=True, slots=True)
class Instruments:
    """``random`` is for jitter."""

    clock: Clock
    meter: Meter
    random: random.Random
