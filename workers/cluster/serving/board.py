"""Where replicas and the driver tell each other how they are: an actor without work of its own.

A call through Ray Serve's handle reaches one replica, which nobody can choose. So each replica
reports here twice a second, and reads in the answer whether it is to drain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FORGOTTEN_S = 120.0
"""A replica that reported nothing for so long is forgotten."""

REPORT_S = 0.5
"""Between two reports of a replica."""

SILENT_S = 15.0
"""A replica that reports nothing for so long has died, or cannot be asked any more."""


class State(StrEnum):
    """The state of a replica, as it says itself."""

    STARTING = "starting"
    """It loads its model."""
    READY = "ready"
    """It answers requests."""
    HALTED = "halted"
    """It could not start: a person must act."""
    FAILED = "failed"
    """It can answer nothing any more, and waits to be replaced."""
    ENDED = "ended"
    """It has ended in order."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a replica says of itself. ``in_flight`` are its requests without an answer.
    ``code`` and ``message`` are those of its halt or failure. ``node`` is a host's name."""

    id: str
    node: str
    state: State
    pid: int = 0
    model: str = ""
    in_flight: int = 0
    draining: bool = False
    code: str = ""
    message: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    """What the console shows of it."""
    listening: tuple[str, int] | None = None
    """Its node's address in the cluster, and the port of its metrics."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A replica's latest report, and how long ago it came. ``slot`` is the replica's number on its
    host."""

    report: Report
    slot: int
    age_s: float

    @property
    def lives(self) -> bool:
        return self.age_s < SILENT_S and self.report.state is not State.ENDED

    @property
    def ready(self) -> bool:
        return self.lives and self.report.state is State.READY


@dataclass(slots=True)
class _Entry:
    report: Report
    slot: int
    at: float


class Board:
    """The latest report of each replica. A plain class; ``application`` makes it an actor."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._draining = False

    def join(self, report: Report) -> int:
        """A replica's number on its host: the lowest that no living replica of the host has."""
        living = (
            each.slot
            for each in self._entries.values()
            if each.report.node == report.node and self._heard(each).lives
        )
        taken = set(living)
        slot = next(number for number in range(len(taken) + 1) if number not in taken)
        self._entries[report.id] = _Entry(report, slot, self._now())
        return slot

    def report(self, report: Report, slot: int) -> bool:
        """Take a replica's report. Returns whether it is to drain."""
        # Anew if this actor was started again meanwhile.
        entry = self._entries.setdefault(report.id, _Entry(report, slot, self._now()))
        entry.report, entry.at = report, self._now()
        return self._draining

    def reports(self) -> list[Report]:
        """What each living replica said last."""
        heard = map(self._heard, self._entries.values())
        return [each.report for each in heard if each.lives]

    def look(self, draining: bool) -> list[Heard]:
        """What all replicas said last. ``draining``: what they are told from now on."""
        self._draining = draining
        heard = {name: self._heard(entry) for name, entry in self._entries.items()}
        for name, each in heard.items():
            if each.age_s > FORGOTTEN_S:
                del self._entries[name]
        return list(heard.values())

    def _heard(self, entry: _Entry) -> Heard:
        return Heard(entry.report, entry.slot, self._now() - entry.at)
