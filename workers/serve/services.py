"""What the application works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.ports import Clock, Meter
from pipeline.records import ModelIdentity
from workers.label_sets import ScoringRules
from workers.serve.admission.keys import Keys
from workers.serve.admission.memory import MemoryBudget
from workers.serve.admission.rates import Rates
from workers.serve.admission.room import Room
from workers.serve.images import Images
from workers.serve.live.cluster import ClusterView
from workers.serve.live.live import Live
from workers.serve.prompts import Prompts
from workers.serve.publishing.records import SILENT, Records
from workers.serve.standing import Standing
from workers.settings.loading import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the application uses. ``rules`` returns the label sets in force. ``keys`` is
    None where no keys are configured."""

    settings: Settings
    model: ModelIdentity
    images: Images
    prompts: Prompts
    rules: Callable[[], ScoringRules]
    keys: Keys | None
    rates: Rates
    room: Room
    memory: MemoryBudget
    standing: Standing
    live: Live
    cluster: ClusterView
    clock: Clock
    meter: Meter
    records: Records = SILENT
