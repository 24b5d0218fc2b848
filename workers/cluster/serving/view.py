"""What the console shows of all replicas: each reports its own row to the board."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from workers.cluster.serving.board import Report
from workers.serve.live.cluster import ClusterView
from workers.serve.live.outcome import Object

log = logging.getLogger(__name__)

ANSWER_S = 2.0
"""Longest wait for the board's answer."""


class AllReplicas:
    """Implements ``ClusterView`` on a board."""

    def __init__(self, own: ClusterView, board: Any) -> None:
        """``own`` tells about this replica, and about workers."""
        self._own = own
        self._board = board

    async def replicas(self) -> Sequence[Object]:
        """All replicas; this one alone while the board does not answer."""
        import ray

        try:
            reports = await asyncio.wait_for(self._board.reports.remote(), ANSWER_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.debug("the board does not answer: %s", error)
            return await self._own.replicas()
        return [row_of(report) for report in reports]

    async def workers(self) -> Sequence[Object] | None:
        return await self._own.workers()


def row_of(report: Report) -> Object:
    """A replica's row. One that does not answer requests yet has nothing to count."""
    nothing: Object = {"device": "", "in_flight": 0, "queue": 0, "images": 0}
    why = f"{report.code}: {report.message}" if report.code else None
    said = {"id": report.id, "node": report.node, "state": report.state.value, "why": why}
    return nothing | said | dict(report.row) | {"id": report.id}
