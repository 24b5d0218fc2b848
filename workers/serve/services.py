"""What the application works with, and whether it may be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import Halt, WorkerLost
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
from workers.settings.loading import Settings


class Standing:
    """Whether this replica may be asked. Set from any thread."""

    def __init__(self) -> None:
        self.draining = False
        """Whether new requests are refused because the replica ends."""
        self.failure: Halt | WorkerLost | None = None
        """Why the replica can answer nothing any more."""
        self.in_flight = 0
        """Requests that are not answered yet. Those for public pages are left out, and those that
        came while the replica drained. The event loop of the application alone changes it."""

    @property
    def ready(self) -> bool:
        return not self.draining and self.failure is None


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
