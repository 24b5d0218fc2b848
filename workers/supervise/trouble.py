"""Why a place for a worker stays empty: which halts its nodes met, when to try again and on which
nodes not, and when to log it again."""

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
"""An empty place is logged again after this time, and then each time after twice the last
interval."""

TOLD_AGAIN_AT_MOST_S = 3600.0


class Trouble:
    """The reason for an empty place. It lasts until a worker has proven itself there."""

    def __init__(self, code: str, message: str, clock: Clock, rng: random.Random) -> None:
        self.code = code
        self.message = message
        self.is_crash = code not in HALTS
        """Whether the trouble began with crashes of workers, and not with a halt that says what to
        do."""
        self.nodes: dict[str, Node] = {}
        """Nodes that met the trouble, by id."""
        self.backoff = Backoff(clock, rng, RETRIES)
        self._clock = clock
        self._reminder: Reminder | None = None

    @property
    def node(self) -> str:
        """The node that met the trouble last."""
        return str(next(reversed(self.nodes.values()), "an unknown node"))

    def met(self, code: str, message: str, node: Node | None) -> bool:
        """A worker halted again. Returns whether to log it: the code or the node is new, or the
        last log line is long ago."""
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
        """The remedy in the table of codes."""
        return remedy_of(self.code)
