"""Which nodes of the cluster are about to go away: Ray's drain notices, of a spot instance that is
taken back or of a pod that is deleted."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Time between two questions: of a notice of 30 s little is lost."""

CLOSE_S = 3.0
"""A question to a head that is lost is not waited for longer than this."""


def draining_nodes() -> Mapping[str, int]:
    """Ray's: ids of the nodes with the wall-clock time, in milliseconds, at which each goes away; 0
    for none. May block for as long as Ray's head does not answer."""
    from ray._private.state import state

    nodes: Mapping[str, int] = state.get_draining_nodes()
    return nodes


class DrainNotices:
    """Asks in a thread of its own: whoever wants to know must not wait for a head that is lost."""

    def __init__(
        self,
        ask: Callable[[], Mapping[str, int]] = draining_nodes,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._ask = ask
        self._wall = wall
        self._nodes: Mapping[str, int] = {}
        self._failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="drain-notices", daemon=True)
        self._thread.start()

    def goes_in(self, node: str) -> float | None:
        """Seconds until a node (id) goes away, below zero where it should be gone; ``inf`` where it
        is not known when. None where it stays."""
        deadline_ms = self._nodes.get(node)
        if deadline_ms is None:
            return None
        return deadline_ms / 1000 - self._wall() if deadline_ms else math.inf

    @property
    def nodes(self) -> frozenset[str]:
        """Ids of those that go away."""
        return frozenset(self._nodes)

    def close(self) -> None:
        """Ask no more."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def _poll(self) -> None:
        while not self._closing.wait(POLL_S):
            try:
                self._nodes = dict(self._ask())
                self._failed = False
            except Exception as error:  # noqa: BLE001 - Ray's own way, which may change in any way
                # What was announced still holds.
                log.log(
                    logging.DEBUG if self._failed else logging.WARNING,
                    "drain notices cannot be asked for (%s): workers on nodes that go away are not "
                    "moved in time until they can",
                    error,
                )
                self._failed = True
