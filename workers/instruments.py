"""``Instruments``: clock, meter, randomness and tracer as one argument, for a worker's parts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pipeline.ports import Clock, Meter, Tracer


@dataclass(frozen=True, slots=True)
class Instruments:
    """``random`` is for jitter."""

    clock: Clock
    meter: Meter
    random: random.Random
    tracer: Tracer = field(default_factory=Tracer)
