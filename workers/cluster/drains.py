"""Which nodes of the cluster are about to go away, from Ray's drain notices: a spot instance is
taken back, or a pod is deleted."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Seconds between two questions. Little of a 30 s notice is lost."""

CLOSE_S = 3.0
"""Longest wait for the answer of a head that may be lost."""


def draining_nodes() -> Mapping[str, int]:
    """Asks Ray: ids of the draining nodes, each with the wall-clock time in milliseconds at which
    it goes away, or 0 if that is not known. May block for as long as Ray's head does not answer."""
    from ray._private.state import state

    nodes: Mapping[str, int] = state.get_draining_nodes()
    return nodes


class DrainNotices:
    """Asks in a thread of its own, so that callers do not wait for a head that is lost."""

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
        """Seconds until a node (id) goes away; below zero if it should be gone; ``inf`` if the time
        is not known. None if the node stays."""
        deadline_ms = self._nodes.get(node)
        if deadline_ms is None:
            return None
        return deadline_ms / 1000 - self._wall() if deadline_ms else math.inf

    @property
    def nodes(self) -> frozenset[str]:
        """Ids of the nodes that go away."""
        return frozenset(self._nodes)

    def close(self) -> None:
        """Stop asking."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def _poll(self) -> None:
        while not self._closing.wait(POLL_S):
            try:
                self._nodes = dict(self._ask())
                self._failed = False
            except Exception as error:  # noqa: BLE001 - Ray's own way, which may change in any way
                # Earlier announcements still hold.
                log.log(
                    logging.DEBUG if self._failed else logging.WARNING,
                    "drain notices cannot be asked for (%s): until they can, workers are not moved "
                    "in time from nodes that go away",
                    error,
                )
                self._failed = True
