"""Why a place for a worker stays empty: the halts that its nodes met, when to try again and where
not, and when to say so again."""

from __future__ import annotations

import random

from pipeline.halts import HALTS, remedy_of
from pipeline.ports import Clock
from pipeline.retry import RetryPolicy
from workers.backoff import Backoff
from workers.supervise.node import Node
from workers.supervise.reminder import Reminder

RETRIES = RetryPolicy(first_wait_s=10.0, longest_wait_s=300.0)
"""Waits between tries to fill an empty place."""

TOLD_AGAIN_S = 60.0
"""An empty place is told again after so long, and then after twice as long each time."""

TOLD_AGAIN_AT_MOST_S = 3600.0


class Trouble:
    """What keeps a place empty. It lasts until a worker has proven itself there."""

    def __init__(self, code: str, message: str, clock: Clock, rng: random.Random) -> None:
        self.code = code
        self.message = message
        self.is_crash = code not in HALTS
        """Whether it began with workers that died, in place of saying what a person must do."""
        self.nodes: dict[str, Node] = {}
        """Nodes that met it, by their ids."""
        self.backoff = Backoff(clock, rng, RETRIES)
        self._clock = clock
        self._reminder: Reminder | None = None

    @property
    def node(self) -> str:
        """The node that met it last."""
        return str(next(reversed(self.nodes.values()), "an unknown node"))

    def met(self, code: str, message: str, node: Node | None) -> bool:
        """A worker halted again. Returns whether to say so: the code or the node is new, or it was
        told long ago."""
        changed = code != self.code or self._reminder is None
        if code != self.code:
            self.nodes.clear()
        self.code, self.message = code, message
        if node is not None:
            changed = changed or node.id not in self.nodes
            self.nodes.pop(node.id, None)
            self.nodes[node.id] = node
        if self._reminder is None or changed:
            self._reminder = Reminder(self._clock, TOLD_AGAIN_S, TOLD_AGAIN_AT_MOST_S)
            return True
        return self._reminder.due()

    @property
    def remedy(self) -> str:
        """What the table of codes says to do."""
        return remedy_of(self.code)
