"""The crashes of the latest time. Workers of one node that crash together count as one crash,
because the node is lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.supervise.node import Node

TOGETHER_S = 5.0
"""The workers of a lost node are missed within this time of one another."""


@dataclass
class _Crash:
    """One event that ended a worker, or several workers of a node at once."""

    at: float
    node: str | None
    slots: set[int] = field(default_factory=set)


class Crashes:
    """The crashes of the latest ``window_s``."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._crashes: list[_Crash] = []

    def __len__(self) -> int:
        return len(self._crashes)

    @property
    def slots(self) -> set[int]:
        """Slots with a crash."""
        return {slot for crash in self._crashes for slot in crash.slots}

    def add(self, now: float, slot: int, node: Node | None) -> None:
        """A worker crashed."""
        self._crashes = [crash for crash in self._crashes if now - crash.at <= self._window_s]
        name = node.id if node else None
        for crash in self._crashes:
            # A slot that crashed twice was started again in between, so these are two crashes.
            together = crash.node == name and now - crash.at <= TOGETHER_S
            if name is not None and together and slot not in crash.slots:
                crash.slots.add(slot)
                return
        self._crashes.append(_Crash(now, name, {slot}))

    def forget(self, slot: int) -> None:
        """Drop the crashes of a slot."""
        for crash in self._crashes:
            crash.slots.discard(slot)
        self._crashes = [crash for crash in self._crashes if crash.slots]
