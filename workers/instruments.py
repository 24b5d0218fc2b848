"""The clock, the meter and the randomness that almost everything in a worker needs."""

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
